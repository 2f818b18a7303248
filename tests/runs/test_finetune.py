"""`osler finetune`: what it learns from, how it stops and goes on, NEFTune, and what its checkpoints say of themselves."""

import csv
import json
import re
import signal
import time

import h5py
import numpy
import pytest

import exam_files
import osler_run
from chat_world import finetune, finetune_args, make_chats
from osler_run import read_metrics, run, train_rows, without_timing


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return osler_run.make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def chats(world, tmp_path_factory):
    return make_chats(world, tmp_path_factory.mktemp("chats"))


@pytest.fixture(scope="module")
def plain(world, chats, tmp_path_factory):
    """20 steps on one rank, with and without noise."""
    runs = {}
    for alpha in (0, 5):
        runs[alpha] = tmp_path_factory.mktemp("plain") / "run"
        finetune(world, chats, runs[alpha], neftune__alpha=alpha)
    return runs


def tensors(run_dir):
    newest = max((run_dir / "checkpoints").glob("step_*"))
    found = {}
    with h5py.File(newest / "index.h5") as file:
        file["optim"].visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def assert_equal_runs(run_dir, expected_dir):
    assert without_timing(read_metrics(run_dir)) == without_timing(read_metrics(expected_dir))
    found, expected = tensors(run_dir), tensors(expected_dir)
    assert found.keys() == expected.keys() and len(found) > 20
    for name, value in expected.items():
        assert numpy.array_equal(found[name], value), name


def test_the_answers_are_learnt(plain):
    rows = train_rows(plain[0])
    assert [row["step"] for row in rows] == list(range(1, 21))
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert all(0 < row["supervised_tokens"] < 0.7 * 6 * 128 for row in rows)
    valid = [row["valid/held"] for row in read_metrics(plain[0]) if "valid/held" in row]
    assert len(valid) == 2 and valid[1] < valid[0]


def test_epochs_show_every_conversation_as_often_as_asked(world, chats, tmp_path):
    args = finetune_args(world, chats, tmp_path / "run", run__steps=None, data__epochs=2, data__sequence_length=256,
                         data__source=[f"train:1:{chats.train}", f"other:0.5:{chats.other}"])
    shown = run(["finetune", *args, "--dry-run"])
    epochs = dict(re.findall(r"source  (\w+): .* tokens, ([\d.]+) epochs", shown.stdout))
    assert 2 <= float(epochs["train"]) < 2.6 and 1 <= float(epochs["other"]) < 1.5
    assert re.search(r"source train: 150 conversations, windows 9\d(\.\d)? % full", shown.stderr), shown.stderr


def test_too_long_conversations_are_dropped_or_cut_and_counted(world, chats, tmp_path):
    lengths = []
    for path in sorted(chats.train.rglob("*.h5")):
        with h5py.File(path) as shard:
            lengths += numpy.diff(shard["doc_offsets"][:].astype(int)).tolist()
    long = sum(length > 64 for length in lengths)
    assert 5 < long < 145
    more = {"data__sequence_length": 64, "data__source": f"train:1:{chats.train}"}
    dropped = run(["finetune", *finetune_args(world, chats, tmp_path / "a", **more), "--dry-run"]).stderr
    assert f"{150 - long} conversations" in dropped and f"{long} left out as too long" in dropped
    cut = run(["finetune", *finetune_args(world, chats, tmp_path / "b", **more, data__too_long="cut"), "--dry-run"]).stderr
    unanswered = int((re.search(r"(\d+) left out without an answer", cut) or [0, 0])[1])
    assert f"{150 - unanswered} conversations" in cut and f"{long - unanswered} cut" in cut


def test_what_does_not_fit_the_verb_is_refused(world, chats, tmp_path):
    text = finetune(world, chats, tmp_path / "a", data__source=f"general:1:{world.shards / 'general'}", expect=3)
    assert "without a loss mask" in text.stderr and "tokenize.format=chat" in text.stderr
    masked = world.pretrain(tmp_path / "b", data__source=f"train:1:{chats.train}", expect=3)
    assert "holds conversations" in masked.stderr and "osler finetune" in masked.stderr
    assert "data.epochs" in finetune(world, chats, tmp_path / "c", run__steps=None, data__epochs=0, expect=2).stderr
    assert "data.epochs" in world.pretrain(tmp_path / "d", data__epochs=2, expect=2).stderr
    assert "data.cross_document" in finetune(world, chats, tmp_path / "e", data__cross_document="on", expect=2).stderr
    short = finetune(world, chats, tmp_path / "f", data__sequence_length=8, expect=3)
    assert "none of its conversations fits, with an answer" in short.stderr


def wait_for_step(process, run_dir, step):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        path = run_dir / "metrics.jsonl"
        if path.exists() and f'"step":{step},' in path.read_text():
            return
        time.sleep(0.005)
    raise AssertionError(f"step {step} never came")


@pytest.mark.parametrize("alpha", [0, 5])
def test_killed_and_started_again_equals_unbroken(world, chats, plain, tmp_path, alpha):
    run_dir = tmp_path / "run"
    for step in (7, 13):
        process = osler_run.start(["finetune", *finetune_args(world, chats, run_dir, neftune__alpha=alpha)])
        wait_for_step(process, run_dir, step)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (run_dir / "done").exists()
    finetune(world, chats, run_dir, neftune__alpha=alpha)
    assert_equal_runs(run_dir, plain[alpha])


def test_alpha_zero_is_off_bit_for_bit_and_noise_is_not(world, chats, plain, tmp_path):
    finetune(world, chats, tmp_path / "off")   # neftune.alpha is not named
    assert_equal_runs(tmp_path / "off", plain[0])
    noisy, still = read_metrics(plain[5]), read_metrics(plain[0])
    assert noisy[0] == still[0], "validation before the first step sees no noise"
    assert noisy[1]["samples_sha"] == still[1]["samples_sha"] and noisy[1]["loss"] != still[1]["loss"]


@pytest.mark.parametrize("ranks, options", [
    (2, {}), (3, {}), (2, {"parallel__tp": 2}), (4, {"parallel__tp": 2}), (1, {"data__micro_batch": 2}), (1, {"data__micro_batch": 6}),
])
def test_noise_and_order_are_the_same_in_every_layout(world, chats, plain, tmp_path, ranks, options):
    finetune(world, chats, tmp_path / "run", ranks=ranks, neftune__alpha=5, run__stop_at_step=10, **options)
    rows = train_rows(tmp_path / "run")
    assert len(rows) == 10
    for row, other in zip(rows, train_rows(plain[5])):
        assert row["samples_sha"] == other["samples_sha"] and row["supervised_tokens"] == other["supervised_tokens"]
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert row["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3)


@pytest.mark.parametrize("mode", ["selective", "full"])
def test_recompute_replays_the_noise(world, chats, plain, tmp_path, mode):
    finetune(world, chats, tmp_path / "run", neftune__alpha=5, parallel__recompute=mode)
    assert_equal_runs(tmp_path / "run", plain[5])


def test_experts_on_other_ranks(world, chats, tmp_path):
    options = {"mixture": True, "neftune__alpha": 5, "run__steps": 6}
    finetune(world, chats, tmp_path / "one", **options)
    finetune(world, chats, tmp_path / "ep", ranks=2, parallel__ep=2, **options)
    finetune(world, chats, tmp_path / "both", ranks=4, parallel__ep=2, parallel__tp=2, **options)
    for name in ("ep", "both"):
        for row, other in zip(train_rows(tmp_path / name), train_rows(tmp_path / "one"), strict=True):
            assert row["loss"] == pytest.approx(other["loss"], rel=1e-5)
            assert row["router/aux_loss"] == pytest.approx(other["router/aux_loss"], rel=1e-4)
            assert sum(map(sum, row["router/load"])) == sum(map(sum, other["router/load"]))


def scores(folder):
    with open(folder / "scores.csv", newline="") as file:
        return next(csv.DictReader(file))


def test_evaluation_tables_say_what_a_model_has_been_through(world, chats, tmp_path):
    """base -> P^t (a run that goes on from a run) -> P^t+F (from a run, then from a checkpoint)."""
    exam = exam_files.write_lines(tmp_path / "exam.jsonl", [{"id": str(i), "question": f"fever {i}?", "options": ["aspirin", "rest"], "answer": "A"}
                                                            for i in range(8)])
    few = {"run__steps": 4, "checkpoint__interval_steps": 2}
    world.pretrain(tmp_path / "base", **few)
    world.pretrain(tmp_path / "continued", model__config=None, model__from=tmp_path / "base", **few)
    finetune(world, chats, tmp_path / "tuned", model__config=None, model__from=tmp_path / "continued", neftune__alpha=5, **few)
    newest = tmp_path / "tuned" / "checkpoints" / "step_000000004"
    finetune(world, chats, tmp_path / "again", model__config=None, model__from=newest, **few)
    pretrained = 4 * 12 * 32
    wanted = {"base": (pretrained, 0, 0), "continued": (2 * pretrained, 0, 0), "tuned": (2 * pretrained, 1, 5), "again": (2 * pretrained, 1, 0)}
    for name, (tokens, tuned, alpha) in wanted.items():
        run(["evaluate", f"--eval.model={tmp_path / name}", f"--eval.task=exam:{exam}", f"--eval.output={tmp_path / name / 'eval'}",
             "--parallel.dtype=fp32"])
        row = scores(tmp_path / name / "eval")
        assert (int(row["tokens_seen"]), int(row["fine_tuned"]), float(row["neftune_alpha"])) == (tokens, tuned, alpha), name
    state = json.loads((newest / "manifest.json").read_text())["state"]["provenance"]
    assert state == {"pretraining_tokens": 2 * pretrained, "fine_tuning_tokens": 4 * 6 * 128, "neftune_alpha": 5.0}
    assert "in fine-tuning, neftune alpha 5" in run(["inspect", newest]).stdout


def test_a_resumed_run_keeps_the_provenance_it_began_with(world, chats, tmp_path):
    few = {"run__steps": 4, "checkpoint__interval_steps": 2}
    world.pretrain(tmp_path / "base", **few, run__stop_at_step=2)
    tune = {"model__config": None, "model__from": tmp_path / "base", **few}
    finetune(world, chats, tmp_path / "tuned", **tune, run__stop_at_step=2)
    world.pretrain(tmp_path / "base", **few)   # the base goes on meanwhile
    finetune(world, chats, tmp_path / "tuned", **tune)
    state = json.loads((tmp_path / "tuned/checkpoints/step_000000004/manifest.json").read_text())["state"]["provenance"]
    assert state["pretraining_tokens"] == 2 * 12 * 32
