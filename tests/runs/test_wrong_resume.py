"""T16: a run folder that is gone on with as another run: refused with what differs and how to go on, moved to this format, or, where it
can be sound and was asked for, accepted and recorded."""

import hashlib
import json
import shutil

import pytest

import osler_run
from osler_run import read_metrics, run, without_timing

STEP = "step_000000004"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return osler_run.make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def begun(world, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("begun") / "run"
    world.pretrain(run_dir, run__steps=8, run__stop_at_step=4)
    return run_dir


@pytest.fixture
def run_dir(begun, tmp_path):
    return shutil.copytree(begun, tmp_path / "run")


def go_on(world, run_dir, expect=2, **changes):
    before = (run_dir / "metrics.jsonl").read_bytes(), (run_dir / "config.ini").read_bytes()
    told = world.pretrain(run_dir, expect=expect, run__steps=8, **changes).stderr
    if expect:
        assert before == ((run_dir / "metrics.jsonl").read_bytes(), (run_dir / "config.ini").read_bytes()), "a refusal changes nothing"
        assert sorted(path.name for path in (run_dir / "checkpoints").iterdir()) == [STEP]
    return told


def tokenized(world, folder, text, tokenizer=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": f"{text} {n} {word}"}) + "\n" for n in range(300) for word in ("fever", "river")))
    run(["tokenize", f"--tokenize.input=general:{folder / 'text.jsonl'}", f"--tokenize.tokenizer={tokenizer or world.tokenizer}",
         f"--tokenize.output={folder / 'shards'}"])
    return folder / "shards"


CHANGES = {
    "seed": ({"run__seed": 12}, ["run.seed: 11 -> 12"]),
    "batch": ({"data__global_batch": 24}, ["data.global_batch: 12 -> 24"]),
    "window": ({"data__sequence_length": 16}, ["data.sequence_length: 32 -> 16"]),
    "dtype": ({"parallel__dtype": "bf16"}, ["parallel.dtype: fp32 -> bf16"]),
    "architecture": ({"mixture": True}, ["model architectures", "model num_local_experts"]),
}


@pytest.mark.parametrize("accepted", [False, True])
@pytest.mark.parametrize("what", CHANGES)
def test_another_run_is_refused_whatever_is_accepted(world, run_dir, what, accepted):
    changes, named = CHANGES[what]
    told = go_on(world, run_dir, **changes, run__accept_changed_data="on" if accepted else "off")
    assert "was saved by another run" in told and STEP in told and "use another run.dir" in told and "model.from" in told
    assert all(name in told for name in named), told
    assert "accept_changed_data=on" not in told


@pytest.mark.parametrize("key, value", [("hidden_size", 64), ("vocab_size", 384), ("num_hidden_layers", 3), ("num_key_value_heads", 4), ("rope_theta", 5e5)])
def test_another_model_is_refused(world, run_dir, tmp_path, key, value):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(osler_run.model_config(**{key: value}, **({"head_dim": 16} if key == "hidden_size" else {}))))
    told = go_on(world, run_dir, model__config=config)
    assert f"model {key}: " in told and "->" in told and "use another run.dir" in told


def test_another_tokenizer_is_refused(world, run_dir, tmp_path):
    """Of the same size, with shards of its own: nothing but the sums tells them apart."""
    import sentencepiece

    other = tmp_path / "other"
    other.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([f"{chr(97 + n % 26) * (n % 7 + 1)} {n}" for n in range(500)]), model_prefix=str(other / "tokenizer"),
        vocab_size=osler_run.VOCAB_SIZE, model_type="bpe", byte_fallback=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, minloglevel=2,
        num_threads=1, hard_vocab_limit=True)
    shards = tokenized(world, tmp_path / "text", "aaa bbb", other)
    told = go_on(world, run_dir, model__tokenizer=other, data__source=f"general:1:{shards}", run__accept_changed_data="on")
    assert "tokenizer.model: sha256" in told and "use another run.dir" in told


def test_other_data_are_refused_or_accepted_and_recorded(world, run_dir, tmp_path):
    source = f"general:1:{tokenized(world, tmp_path / 'text', 'other')}"
    told = go_on(world, run_dir, data__source=source)
    assert "data.source: general:1:" in told and "run.accept_changed_data=on" in told
    told = go_on(world, run_dir, expect=0, data__source=source, run__accept_changed_data="on")
    assert "from step 5 on other data, as run.accept_changed_data says: data.source: " in told and "warning" in told
    state = json.loads((run_dir / "checkpoints" / "step_000000008" / "manifest.json").read_text())["state"]
    assert state["counters"]["data_changes"] == 1 and state["counters"]["data_changed_at_step"] == 4
    assert [row["step"] for row in read_metrics(run_dir) if "loss" in row] == list(range(1, 9))
    # Going on with the same other data is no change any more.
    (run_dir / "done").unlink()
    told = world.pretrain(run_dir, run__steps=9, data__source=source).stderr
    assert "other data" not in told
    state = json.loads((run_dir / "checkpoints" / "step_000000009" / "manifest.json").read_text())["state"]
    assert state["counters"]["data_changes"] == 1 and state["counters"]["data_changed_at_step"] == 4


def test_shards_that_were_made_again_under_the_same_name(world, tmp_path):
    first = tokenized(world, tmp_path / "text", "one")
    source = {"data__source": f"general:1:{first}"}
    run_dir = tmp_path / "run"
    world.pretrain(run_dir, run__steps=8, run__stop_at_step=4, **source)
    shutil.rmtree(first)
    tokenized(world, tmp_path / "text", "two")
    told = go_on(world, run_dir, **source)
    assert "the contents of the token shards" in told and "run.accept_changed_data=on" in told
    shutil.rmtree(tmp_path / "text" / "shards")
    tokenized(world, tmp_path / "text", "one")
    go_on(world, run_dir, expect=0, **source)


def rewritten(manifest, change):
    """The manifest with `change(rest)` applied and its own sum made right again, as another release would have written it."""
    rest = json.loads(manifest.read_text())
    del rest["manifest_sha256"]
    change(rest)
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    manifest.write_text(json.dumps({**rest, "manifest_sha256": hashlib.sha256(text.encode()).hexdigest()}, indent=1, sort_keys=True, ensure_ascii=False))


def test_a_newer_format_is_refused_and_left_alone(world, run_dir):
    rewritten(run_dir / "checkpoints" / STEP / "manifest.json", lambda rest: rest.update(version=99, new_field={}))
    told = go_on(world, run_dir, expect=4)
    assert "has format version 99" in told and "use the release that wrote it" in told
    assert run(["inspect", run_dir / "checkpoints" / STEP], expect=4).stderr.count("99") == 1


def test_an_older_format_is_read(world, run_dir, begun, tmp_path):
    """Version 1 had no provenance: what its model saw was pretraining."""
    def as_version_1(rest):
        del rest["state"]["provenance"]
        rest["version"] = 1
    rewritten(run_dir / "checkpoints" / STEP / "manifest.json", as_version_1)
    go_on(world, run_dir, expect=0)
    unbroken = shutil.copytree(begun, tmp_path / "unbroken")
    go_on(world, unbroken, expect=0)
    assert without_timing(read_metrics(run_dir)) == without_timing(read_metrics(unbroken))
    new, expected = (json.loads((r / "checkpoints" / "step_000000008" / "manifest.json").read_text()) for r in (run_dir, unbroken))
    assert new["version"] == expected["version"] > 1
    assert new["state"]["provenance"] == expected["state"]["provenance"]


def test_a_shard_of_a_newer_format_is_refused(world, tmp_path):
    import h5py

    shard = shutil.copy(next((world.shards / "general").rglob("*.h5")), tmp_path / "newer.h5")
    with h5py.File(shard, "r+") as file:
        file.attrs["format_version"] = 99
    told = world.pretrain(tmp_path / "run", expect=3, data__source=f"general:1:{shard}").stderr
    assert "format_version 99" in told and "newer.h5" in told


def test_tokenize_shows_what_differs_from_the_finished_run(world, tmp_path):
    args = ["tokenize", f"--tokenize.input=general:{world.corpora / 'general.jsonl'}", f"--tokenize.tokenizer={world.tokenizer}",
            f"--tokenize.output={tmp_path / 'out'}"]
    run(args)
    for more in ([], ["--dry-run"]):
        told = run([*args, "--tokenize.add_bos=off", *more], expect=3).stderr
        assert "tokenize.add_bos: on -> off" in told and "another tokenize.output" in told
    assert "nothing to do" in run([*args, "--files.private=all"]).stderr, "how files are written is not what is in them"


def test_evaluate_says_what_it_replaces(world, tmp_path):
    import exam_files
    import random

    model = exam_files.make_model(tmp_path / "hf")
    exam = exam_files.write_lines(tmp_path / "exam.jsonl", exam_files.medqa_records(random.Random(3), 4))
    args = ["evaluate", f"--eval.model={model}", f"--eval.task=medqa_4options:{exam}", f"--eval.output={tmp_path / 'out'}", "--parallel.dtype=fp32"]
    assert "replaces" not in run(args).stderr
    told = run([*args, "--eval.limit=2", "--dry-run"]).stderr
    assert "replaces the finished evaluation" in told and "eval.limit: 0 -> 2" in told
    assert len((tmp_path / "out" / "samples_medqa_4options.jsonl").read_text().splitlines()) == 4
