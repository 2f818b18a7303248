"""osler pretrain over tensor- and expert-parallel ranks: every layout takes the course of one rank, and a run may change
its layout at every restart."""

import json
import math
import pathlib
import subprocess

import pytest

import osler_run
from osler_run import train_rows

# (ranks, tp, ep); the tiny models have 4 heads, 2 key-value heads and 4 experts
MISTRAL = [(2, 2, 1), (4, 2, 1), (4, 4, 1)]
MIXTRAL = [(2, 2, 1), (2, 1, 2), (2, 2, 2), (4, 2, 4), (4, 4, 2), (4, 1, 4)]
TOLERANCE = 1e-5  # fp32, 20 updates


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return osler_run.make_world(tmp_path_factory.mktemp("world"))


def options(world):
    return {"data__validation": f"held:{world.shards / 'held_out'}", "data__validate_every": 10,
            "data__validation_sequences": 12, "optim__learning_rate": 1e-3}


@pytest.fixture(scope="session")
def one_rank(world, tmp_path_factory):
    runs = {}
    for mixture in (False, True):
        runs[mixture] = tmp_path_factory.mktemp("one_rank") / "run"
        world.pretrain(runs[mixture], mixture=mixture, **options(world))
    return runs


def assert_same_course(run_dir, expected_dir, tolerance=TOLERANCE):
    rows, expected = osler_run.read_metrics(run_dir), osler_run.read_metrics(expected_dir)
    assert [row["step"] for row in rows] == [row["step"] for row in expected]
    for row, other in zip(rows, expected):
        assert row.get("samples_sha") == other.get("samples_sha"), f"step {row['step']}: other samples"
        for key in other:
            if key.startswith(("loss", "valid/", "router/aux")) or key == "grad_norm":
                bound = tolerance * (100 if key == "grad_norm" else 1)  # a norm of sums that cancel
                assert math.isclose(row[key], other[key], rel_tol=bound), (row["step"], key, row[key], other[key])
            elif key == "router/load_max_over_mean":
                assert row[key] == pytest.approx(other[key], rel=1e-2), "one token may go elsewhere"
            elif key.startswith("router/load/"):
                assert sum(row[key]) == sum(other[key]), "every token of the source goes to two experts of each layer"


@pytest.mark.parametrize("mixture, ranks, tp, ep",
                         [(False, *layout) for layout in MISTRAL] + [(True, *layout) for layout in MIXTRAL])
def test_equals_one_rank(world, one_rank, tmp_path, mixture, ranks, tp, ep):
    world.pretrain(tmp_path / "run", ranks=ranks, mixture=mixture, parallel__tp=tp, parallel__ep=ep, **options(world))
    assert_same_course(tmp_path / "run", one_rank[mixture])


def test_changes_layout_at_every_restart(world, one_rank, tmp_path):
    """Two ranks of dp, then tp 2, then edp 1 x ep 4 with tp 2, then one rank: the course of the run that never stopped."""
    for stop, ranks, tp, ep in ((4, 2, 1, 1), (9, 2, 2, 1), (14, 4, 2, 4), (0, 1, 1, 1)):
        result = world.pretrain(tmp_path / "run", ranks=ranks, mixture=True, parallel__tp=tp, parallel__ep=ep,
                                run__stop_at_step=stop, **options(world))
        assert ("resumed from" in result.stderr) == (stop != 4)
    assert (tmp_path / "run" / "done").exists()
    assert_same_course(tmp_path / "run", one_rank[True])
    assert len(train_rows(tmp_path / "run")) == 20


def test_same_layout_resumes_bit_for_bit(world, tmp_path):
    shape = {"ranks": 4, "mixture": True, "parallel__tp": 2, "parallel__ep": 4, "parallel__dtype": "bf16",
             "parallel__recompute": "full"}
    world.pretrain(tmp_path / "unbroken", **shape, **options(world))
    world.pretrain(tmp_path / "broken", run__stop_at_step=7, **shape, **options(world))
    world.pretrain(tmp_path / "broken", **shape, **options(world))
    assert osler_run.without_timing(osler_run.read_metrics(tmp_path / "broken")) == \
        osler_run.without_timing(osler_run.read_metrics(tmp_path / "unbroken"))


def reductions_beside_backward(trace):
    """(reductions, backward passes) that overlap in time, of one rank's trace."""
    events = [event for event in json.loads(trace.read_text()) if event["ph"] == "X"]  # the others are names
    assert {"forward", "backward", "loss", "optimizer"} <= {event["name"] for event in events}

    def spans(name):
        return [(event["ts"], event["ts"] + event["dur"]) for event in events if name in event["name"]]

    assert spans("reduce_scatter")
    return [(reduction, one) for reduction in spans("reduce_scatter") for one in spans("backward")
            if reduction[0] < one[1] and one[0] < reduction[1]]


def test_reductions_run_beside_backward(world, tmp_path):
    """The trace shows gradients of upper layers being reduced while backward goes on below, unless they may not be: on a
    model large enough for backward to take some tens of milliseconds."""
    config = tmp_path / "config.json"
    config.write_text(json.dumps(osler_run.model_config(hidden_size=256, intermediate_size=1024, num_hidden_layers=4)))
    shape = {"ranks": 2, "run__steps": 6, "model__config": config, "data__sequence_length": 128, "data__global_batch": 8,
             "data__micro_batch": 4, "checkpoint__interval_steps": 100}
    for overlap in ("on", "off"):
        world.pretrain(tmp_path / overlap, run__trace=tmp_path / f"trace-{overlap}", parallel__overlap_reduction=overlap,
                       **shape, **options(world))
    for rank in range(2):
        name = f"rank_{rank:05d}.json"
        events = json.loads((tmp_path / f"trace-on.{name}").read_text())
        assert {event["ph"] for event in events} == {"M", "X"} and {event["pid"] for event in events} == {rank}
        assert len(reductions_beside_backward(tmp_path / f"trace-on.{name}")) >= 6, "6 steps of 4 layers"
        assert not reductions_beside_backward(tmp_path / f"trace-off.{name}")
    assert osler_run.without_timing(osler_run.read_metrics(tmp_path / "on")) == \
        osler_run.without_timing(osler_run.read_metrics(tmp_path / "off")), "the same sums in the same order"


@pytest.mark.parametrize("key, odd_one, what", [
    ("--optim.learning_rate", "2e-3", "configurations of ranks 0 and 1 differ"),
    ("--run.seed", "12", "configurations of ranks 0 and 1 differ"),
])
def test_ranks_with_other_options_are_refused(world, tmp_path, key, odd_one, what):
    args = world.pretrain_args(tmp_path / "run")
    other = [f"{key}={odd_one}" if arg.startswith(key + "=") else arg for arg in args]
    assert other != args
    assert what in start_unlike(args, other).stderr
    assert not (tmp_path / "run").exists()


def test_a_rank_with_another_binary_is_refused(world, tmp_path):
    """A copy with a byte appended: another file, the same program."""
    copy = tmp_path / "osler"
    copy.write_bytes(pathlib.Path(osler_run.OSLER).read_bytes() + b"\0")
    copy.chmod(0o755)
    args = world.pretrain_args(tmp_path / "run")
    assert "programs of ranks 0 and 1 differ" in start_unlike(args, args, copy).stderr


def test_a_rank_with_other_data_is_refused(world, tmp_path):
    """Each rank sees its own folder under the same name, as when a copy to a node's disk went wrong."""
    folders = [tmp_path / name for name in ("a", "b")]
    for folder, shards in zip(folders, ("general", "clinical")):
        folder.mkdir()
        (folder / "tokens").symlink_to(world.shards / shards)
    args = world.pretrain_args(tmp_path / "run", data__source="text:1:tokens", files__visible_within_s=1)
    result = start_unlike(args, args, folders=folders)
    assert "data of ranks 0 and 1 differ" in result.stderr


def start_unlike(args, other, other_binary=None, folders=(None, None)):
    """Two ranks that were not started alike: exit code 2 and one message."""
    halves = [["-n", "1", *(["-wdir", str(folder)] if folder else []), str(binary), "pretrain", *map(str, options)]
              for binary, options, folder in ((osler_run.OSLER, args, folders[0]),
                                              (other_binary or osler_run.OSLER, other, folders[1]))]
    result = subprocess.run([osler_run.MPIRUN, *halves[0], ":", *halves[1]], env=osler_run.environment(),
                            capture_output=True, text=True, timeout=120)
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("differ") == 1, result.stderr
    return result
