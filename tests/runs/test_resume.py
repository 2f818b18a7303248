"""A run that is stopped at any moment, by any means, and started again ends as if nothing had happened."""

import random
import signal
import time

import h5py
import numpy
import pytest

import osler_run
from osler_run import read_metrics, without_timing

STEPS = 40
OPTIONS = {"run__steps": STEPS, "checkpoint__interval_steps": 6, "data__micro_batch": 2}


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return osler_run.make_world(tmp_path_factory.mktemp("world"))


def options(world, **more):
    return {**OPTIONS, "data__validation": f"held:{world.shards / 'held_out'}", "data__validate_every": 10,
            "data__validation_sequences": 8, **more}


@pytest.fixture(scope="session")
def unbroken(world, tmp_path_factory):
    """One unbroken run per layout."""
    runs = {}
    for ranks, dtype in ((1, "fp32"), (2, "bf16")):
        runs[ranks] = tmp_path_factory.mktemp("unbroken") / "run"
        world.pretrain(runs[ranks], ranks=ranks, mixture=ranks == 2, **options(world, parallel__dtype=dtype))
    return runs


def layout(ranks):
    return {"ranks": ranks, "mixture": ranks == 2, "parallel__dtype": "bf16" if ranks == 2 else "fp32"}


def start(world, run_dir, ranks, **more):
    shape = layout(ranks)
    shape.pop("ranks")
    args = world.pretrain_args(run_dir, **shape, **options(world, **more))
    return osler_run.start(["pretrain", *args], ranks=ranks)


def wait_for_step(process, run_dir, step):
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"ended early with {process.returncode}: {process.stderr.read()[-3000:]}")
        path = run_dir / "metrics.jsonl"
        if path.exists() and f'"step":{step},' in path.read_text():
            return
        time.sleep(0.005)
    process.kill()
    raise AssertionError(f"step {step} never came")


def tensors(run_dir):
    newest = max((run_dir / "checkpoints").iterdir())
    found = {}
    with h5py.File(newest / "index.h5") as file:
        file["optim"].visititems(
            lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return newest.name, found


def assert_equal_runs(run_dir, expected_dir):
    assert (run_dir / "done").exists()
    assert without_timing(read_metrics(run_dir)) == without_timing(read_metrics(expected_dir))
    name, found = tensors(run_dir)
    expected_name, expected = tensors(expected_dir)
    assert name == expected_name == f"step_{STEPS:09d}"
    assert found.keys() == expected.keys() and len(found) > 20
    for key, value in expected.items():
        assert numpy.array_equal(found[key], value), key
    leftovers = [path.name for path in (run_dir / "checkpoints").iterdir() if not path.name.startswith("step_")]
    assert leftovers == []


def finish(world, run_dir, ranks):
    shape = layout(ranks)
    return world.pretrain(run_dir, **shape, **options(world))


# SIGTERM to mpirun is not here: it kills its ranks a second later, so nothing can be promised.
@pytest.mark.parametrize("ranks, stop", [(1, "usr1"), (1, "usr2"), (1, "term"), (1, "int"), (2, "usr1"), (2, "usr2")])
def test_a_signal_saves_and_asks_for_a_requeue(world, unbroken, tmp_path, ranks, stop):
    run_dir = tmp_path / "run"
    process = start(world, run_dir, ranks)
    wait_for_step(process, run_dir, random.Random(f"{ranks}{stop}").randrange(2, 20))
    process.send_signal(getattr(signal, "SIG" + stop.upper()))
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 75, stderr
    assert not (run_dir / "done").exists()
    # The checkpoint is of the last step taken: every step is logged here.
    last = read_metrics(run_dir)[-1]["step"]
    assert max((run_dir / "checkpoints").iterdir()).name == f"step_{last:09d}"
    result = finish(world, run_dir, ranks)
    assert f"step_{last:09d}" in result.stderr
    assert_equal_runs(run_dir, unbroken[ranks])


@pytest.mark.parametrize("ranks", [1, 2])
def test_sigkill_twice_in_a_row(world, unbroken, tmp_path, ranks):
    run_dir = tmp_path / "run"
    for step in (random.Random(ranks).randrange(8, 16), random.Random(ranks + 10).randrange(22, 32)):
        process = start(world, run_dir, ranks)
        wait_for_step(process, run_dir, step)
        if ranks == 1:
            process.kill()
        else:
            osler_run.kill_rank(process, rank=1)
        process.communicate(timeout=300)
        assert process.returncode not in (0, 75)
    finish(world, run_dir, ranks)
    assert_equal_runs(run_dir, unbroken[ranks])


def test_all_ranks_killed_before_the_first_checkpoint(world, unbroken, tmp_path):
    run_dir = tmp_path / "run"
    process = start(world, run_dir, 2)
    wait_for_step(process, run_dir, 2)
    for rank in (0, 1):
        osler_run.kill_rank(process, rank)
    process.communicate(timeout=300)
    finish(world, run_dir, 2)
    assert_equal_runs(run_dir, unbroken[2])


def test_stop_at_step_keeps_the_schedule(world, unbroken, tmp_path):
    run_dir = tmp_path / "run"
    for stop in (11, 11, 25):  # asking for what is reached already changes nothing
        world.pretrain(run_dir, **layout(1), **options(world, run__stop_at_step=stop))
        assert max((run_dir / "checkpoints").iterdir()).name == f"step_{stop:09d}"
        assert not (run_dir / "done").exists()
    finish(world, run_dir, 1)
    assert_equal_runs(run_dir, unbroken[1])


def test_max_hours_saves_and_asks_for_a_requeue(world, unbroken, tmp_path):
    run_dir = tmp_path / "run"
    codes = []
    while not (run_dir / "done").exists():
        result = world.pretrain(run_dir, **layout(1), **options(world, run__max_hours=0.1 / 3600), expect=None)
        codes.append(result.returncode)
        assert result.returncode in (0, 75) and len(codes) < 45, result.stderr
    assert codes[0] == 75 and codes[-1] == 0
    assert_equal_runs(run_dir, unbroken[1])


def test_other_number_of_ranks_goes_on_from_the_same_tensors(world, unbroken, tmp_path):
    run_dir = tmp_path / "run"
    world.pretrain(run_dir, ranks=1, **options(world, run__stop_at_step=18))
    world.pretrain(run_dir, ranks=4, **options(world, data__micro_batch=1))
    for row, other in zip(read_metrics(run_dir), read_metrics(unbroken[1])):
        assert row["step"] == other["step"]
        if "loss" in row:
            assert row["samples_sha"] == other["samples_sha"]
            assert row["loss"] == pytest.approx(other["loss"], rel=1e-6 if row["step"] <= 38 else 2e-6)


@pytest.mark.parametrize("change, named", [
    ({"data__global_batch": 24}, "global_batch"),
    ({"run__seed": 12}, "run.seed"),
    ({"parallel__dtype": "bf16"}, "parallel.dtype"),
    ({"mixture": True}, "architectures"),
])
def test_refuses_to_go_on_as_another_run(world, tmp_path, change, named):
    run_dir = tmp_path / "run"
    world.pretrain(run_dir, run__stop_at_step=1)
    before = (run_dir / "metrics.jsonl").read_text()
    result = world.pretrain(run_dir, expect=2, **change)
    assert named in result.stderr and "->" in result.stderr
    assert (run_dir / "metrics.jsonl").read_text() == before


def test_micro_batch_is_part_of_a_mixtures_objective(world, tmp_path):
    run_dir = tmp_path / "run"
    world.pretrain(run_dir, mixture=True, run__stop_at_step=1)
    result = world.pretrain(run_dir, mixture=True, run__stop_at_step=2, data__micro_batch=2, expect=2)
    assert "data.micro_batch: 1 -> 2" in result.stderr and "router losses" in result.stderr
    world.pretrain(run_dir, mixture=True, run__stop_at_step=2, data__micro_batch=2, router__aux_loss="off")
