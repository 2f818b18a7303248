"""osler pretrain over tensor- and expert-parallel ranks: every layout takes the course of one rank, and a run may change
its layout at every restart."""

import math

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
