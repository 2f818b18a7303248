"""osler pretrain end to end on tiny models: every layout sees the same data and the same loss."""

import json
import math

import pytest

import osler_run
from osler_run import read_metrics, train_rows

# fp32 sums over 12 sequences in another order: a few units of 2^-24 = 6e-8 per step, amplified over 20 updates.
LAYOUT_TOLERANCE = 1e-6


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return osler_run.make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def one_rank(world, tmp_path_factory):
    """The run that others are compared with, per architecture."""
    runs = {}
    for mixture in (False, True):
        run_dir = tmp_path_factory.mktemp("one_rank") / "run"
        world.pretrain(run_dir, mixture=mixture, data__validation=f"held:{world.shards / 'held_out'}",
                       data__validate_every=10, data__validation_sequences=12)
        runs[mixture] = run_dir
    return runs


def assert_same_course(rows, expected, tolerance):
    assert [row["step"] for row in rows] == [row["step"] for row in expected]
    for row, other in zip(rows, expected):
        assert row["samples_sha"] == other["samples_sha"], f"step {row['step']}: other samples"
        assert row["tokens"] == other["tokens"]
        for key in other:
            if key.startswith("loss") or key == "grad_norm":
                bound = tolerance * (100 if key == "grad_norm" else 1)  # a norm of sums that cancel
                assert math.isclose(row[key], other[key], rel_tol=bound), (row["step"], key, row[key], other[key])


@pytest.mark.parametrize("mixture", [False, True], ids=["mistral", "mixtral"])
def test_metrics_tell_the_whole_story(one_rank, mixture):
    run_dir = one_rank[mixture]
    rows = train_rows(run_dir)
    assert [row["step"] for row in rows] == list(range(1, 21))
    assert rows[0]["loss"] == pytest.approx(math.log(osler_run.VOCAB_SIZE), rel=0.02), "untrained: uniform"
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.5, "the loss falls"
    assert len({row["samples_sha"] for row in rows}) == 20, "every step sees other samples"
    for row in rows:
        assert row["tokens"] == row["step"] * 12 * 32
        assert row["tokens/general"] + row["tokens/clinical"] == row["tokens"]
        assert abs(row["tokens/clinical"] - row["tokens"] * 2 / 3) <= 32, "weights are shares of tokens"
        low, high = sorted((row["loss/general"], row["loss/clinical"]))
        assert low - 1e-9 <= row["loss"] <= high + 1e-9
        assert row["skipped"] == 0 and row["grad_norm"] > 0 and next(iter(row.items())) == ("schema_version", 1)
        assert row["tokens_per_second"] > 0 and row["step_time_s"] > 0 and row["memory_bytes"] > 1e6
        assert row["mfu"] is None, "the peak of a CPU is not known"
    assert rows[2]["learning_rate"] == pytest.approx(3e-3)
    assert rows[-1]["learning_rate"] == pytest.approx(3e-4)
    if mixture:
        assert all(len(row["router/load_max_over_mean"]) == 2 for row in rows)
        assert all(1 <= load <= 4 for row in rows for load in row["router/load_max_over_mean"])
        assert all(row["router/aux_loss"] >= 1.99 for row in rows), "top_k = 2 is the balanced value"
    validation = [row for row in read_metrics(run_dir) if "valid/held" in row]
    assert [row["step"] for row in validation] == [0, 10, 20] and all(row["schema_version"] == 1 for row in validation)
    assert validation[-1]["valid/held"] < validation[0]["valid/held"] - 0.3


def test_run_directory_explains_itself(one_rank, world):
    run_dir = one_rank[False]
    assert (run_dir / "done").exists()
    assert "global_batch = 12" in (run_dir / "config.ini").read_text()
    provenance = json.loads((run_dir / "run.json").read_text())
    assert provenance["world_size"] == 1 and provenance["layout"]["dp"] == 1
    assert sorted(path.name for path in (run_dir / "checkpoints").iterdir()) == ["step_000000015", "step_000000020"]
    kept = run_dir / "checkpoints" / "step_000000020" / "tokenizer" / "tokenizer.model"
    assert kept.read_bytes() == (world.tokenizer / "tokenizer.model").read_bytes()


def test_a_finished_run_is_left_alone(one_rank, world):
    run_dir = one_rank[False]
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(run_dir.rglob("*"))}
    result = world.pretrain(run_dir)
    assert "done" in result.stderr
    assert before == {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(run_dir.rglob("*"))}


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("mixture", [False, True], ids=["mistral", "mixtral"])
def test_every_number_of_ranks_gives_the_same_course(world, one_rank, tmp_path, ranks, mixture):
    world.pretrain(tmp_path / "run", ranks=ranks, mixture=mixture, checkpoint__interval_steps=100)
    assert_same_course(train_rows(tmp_path / "run"), train_rows(one_rank[mixture]), LAYOUT_TOLERANCE)


@pytest.mark.parametrize("recompute", ["selective", "full"])
def test_recomputation_changes_nothing(world, one_rank, tmp_path, recompute):
    world.pretrain(tmp_path / "run", mixture=True, parallel__recompute=recompute, checkpoint__interval_steps=100)
    assert_same_course(train_rows(tmp_path / "run"), train_rows(one_rank[True]), LAYOUT_TOLERANCE)


@pytest.mark.parametrize("micro_batch", [4, 12])
def test_accumulation_changes_nothing(world, one_rank, tmp_path, micro_batch):
    world.pretrain(tmp_path / "run", data__micro_batch=micro_batch, checkpoint__interval_steps=100)
    assert_same_course(train_rows(tmp_path / "run"), train_rows(one_rank[False]), LAYOUT_TOLERANCE)


@pytest.mark.parametrize("mixture", [False, True], ids=["mistral", "mixtral"])
def test_bf16_follows_fp32(world, one_rank, tmp_path, mixture):
    world.pretrain(tmp_path / "run", mixture=mixture, ranks=2, parallel__dtype="bf16", checkpoint__interval_steps=100)
    # bf16 keeps 8 bits: one part in 256 per value, far less in a mean over 384 tokens.
    for row, other in zip(train_rows(tmp_path / "run"), train_rows(one_rank[mixture])):
        assert row["loss"] == pytest.approx(other["loss"], rel=0.02), row["step"]


@pytest.mark.parametrize("what", ["run", "checkpoint", "hugging_face"])
def test_goes_on_from_weights(world, one_rank, tmp_path, what):
    weights = one_rank[False] if what == "run" else one_rank[False] / "checkpoints" / "step_000000020"
    if what == "hugging_face":
        osler_run.run(["convert", f"--convert.input={weights}", f"--convert.output={tmp_path / 'released'}"])
        weights = tmp_path / "released"
    world.pretrain(tmp_path / "run", model__config=None, model__from=weights, model__tokenizer=None, run__steps=2,
                   optim__learning_rate=1e-30, optim__min_learning_rate=1e-30, optim__warmup_steps=0,
                   data__validation=f"held:{world.shards / 'held_out'}", data__validation_sequences=12)
    before = [row["valid/held"] for row in read_metrics(one_rank[False]) if "valid/held" in row][-1]
    after = [row["valid/held"] for row in read_metrics(tmp_path / "run") if "valid/held" in row]
    assert after == [before, before], "the same weights give the same validation loss"
    kept = tmp_path / "run" / "checkpoints" / "step_000000002" / "tokenizer" / "tokenizer.model"
    assert kept.read_bytes() == (world.tokenizer / "tokenizer.model").read_bytes(), "the tokenizer comes along"


def test_rows_follow_log_every(world, tmp_path):
    world.pretrain(tmp_path / "run", run__log_every=7, checkpoint__interval_steps=100)
    assert [row["step"] for row in train_rows(tmp_path / "run")] == [1, 7, 14, 20]


def test_non_finite_steps_stop_the_run_together(world, tmp_path):
    result = world.pretrain(tmp_path / "run", ranks=2, expect=None, optim__learning_rate=1e30, optim__clip_norm=0,
                            optim__min_learning_rate=1e30, optim__warmup_steps=0)
    assert result.returncode == 6, result.stderr
    assert result.stderr.count("steps in a row") == 1, "reported once"
    rows = train_rows(tmp_path / "run")
    assert [row["skipped"] for row in rows[-3:]] == [1, 2, 3]
    assert all(None in (row["loss"], row["grad_norm"]) for row in rows[-3:])
    assert not (tmp_path / "run" / "done").exists()


def test_dry_run_and_print_config_write_nothing(world, tmp_path):
    args = world.pretrain_args(tmp_path / "run")
    dry = osler_run.run(["pretrain", *args, "--dry-run"], ranks=2)
    assert "parameters" in dry.stdout and "tokens a step" in dry.stdout
    printed = osler_run.run(["pretrain", *args, "--print-config"], ranks=2)
    assert printed.stdout.count("global_batch = 12") == 1, "printed once, not per rank"
    assert osler_run.run(["pretrain", "--help"]).stdout.count("--run.steps") >= 1
    assert not (tmp_path / "run").exists()


# (name, overrides, ranks, exit code, what the message must name)
BAD_STARTS = [
    ("batch does not divide", {"data__global_batch": 10}, 3, 2, "global_batch"),
    ("tp", {"parallel__tp": 3}, 3, 2, "parallel.tp = 3"),
    ("world is no multiple of tp", {"parallel__tp": 2}, 3, 2, "no multiple of parallel.tp = 2"),
    ("both model.from and model.config", {"model__from": "{root}"}, 1, 2, "model.config"),
    ("neither", {"model__config": None}, 1, 2, "model.from"),
    ("no such config", {"model__config": "{root}/nowhere.json"}, 1, None, "nowhere.json"),
    ("no such source", {"data__source": "a:1:{root}/nowhere"}, 2, 3, "nowhere"),
    ("vocabulary too large", {"model__config": "{root}/small_vocab.json"}, 1, 3, "vocabulary"),
    ("sequence too long", {"data__sequence_length": 512}, 1, 2, "data.sequence_length = 512"),
    ("run.dir is a file", {"run__dir": "{root}/small_vocab.json"}, 1, 5, "run.dir"),
    ("unknown key", {"data__global_bach": 3}, 1, 2, "global_batch"),
    ("async", {"checkpoint__async": "true"}, 1, 2, "checkpoint.async"),
]


@pytest.mark.parametrize("name, overrides, ranks, code, culprit", BAD_STARTS, ids=[case[0] for case in BAD_STARTS])
def test_refuses_what_it_cannot_honour(world, tmp_path, name, overrides, ranks, code, culprit):
    small = world.root / "small_vocab.json"
    small.write_text(json.dumps(osler_run.model_config(vocab_size=64)))
    overrides = {key: value.format(root=world.root) if isinstance(value, str) else value for key, value in overrides.items()}
    result = world.pretrain(tmp_path / "run", ranks=ranks, expect=None, **overrides)
    assert result.returncode == code or (code is None and result.returncode in (2, 3, 5)), result.stderr
    assert culprit in result.stderr
    assert not (tmp_path / "run").exists(), "nothing half-written"
