"""SIGKILL at random moments: a run that is only ever started again ends as the unbroken one."""

import os
import random
import resource
import signal
import time

import pytest

import osler_run
from osler_run import read_metrics, without_timing

ROUNDS = int(os.environ.get("OSLER_KILL_ROUNDS", "6"))
STEPS = 30
OPTIONS = {"run__steps": STEPS, "checkpoint__interval_steps": 1, "checkpoint__keep": 3}


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return osler_run.make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def unbroken(world, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("unbroken") / "run"
    started = time.monotonic()
    world.pretrain(run_dir, ranks=2, **OPTIONS)
    return run_dir, time.monotonic() - started


def checkpoints(run_dir):
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir())


def test_kill_anywhere(world, unbroken, tmp_path):
    expected_dir, duration = unbroken
    run_dir = tmp_path / "run"
    rng = random.Random(20240915)
    kills = 0
    for _ in range(ROUNDS):
        if (run_dir / "done").exists():
            # The run outlived its kills: a new one, so that every round kills something.
            assert without_timing(read_metrics(run_dir)) == without_timing(read_metrics(expected_dir))
            run_dir = tmp_path / f"run{kills}"
        process = osler_run.start(["pretrain", *world.pretrain_args(run_dir, **OPTIONS)], ranks=2)
        time.sleep(rng.uniform(0.3, max(0.9, duration * 0.9)))
        victim = rng.choice(["rank 0", "rank 1", "mpirun"])
        if process.poll() is None:
            if victim == "mpirun":
                osler_run.kill_tree(process)
            else:
                osler_run.kill_rank(process, int(victim[-1]))
            kills += 1
        process.communicate(timeout=300)
    assert kills >= ROUNDS // 2
    world.pretrain(run_dir, ranks=2, **OPTIONS)
    assert without_timing(read_metrics(run_dir)) == without_timing(read_metrics(expected_dir))
    assert checkpoints(run_dir) == [f"step_{step:09d}" for step in range(STEPS - 2, STEPS + 1)], "nothing left over"


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "manifest"])
def test_damaged_newest_checkpoint_falls_back(world, unbroken, tmp_path, damage):
    expected_dir, _ = unbroken
    run_dir = tmp_path / "run"
    options = {**OPTIONS, "checkpoint__interval_steps": 3}
    world.pretrain(run_dir, ranks=2, **options, run__stop_at_step=6)
    newest = run_dir / "checkpoints" / "step_000000006"
    victim = newest / ("manifest.json" if damage == "manifest" else "rank_00001.h5")
    content = victim.read_bytes()
    if damage == "remove":
        victim.unlink()
    elif damage == "flip":
        position = len(content) // 2
        victim.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1:])
    else:
        victim.write_bytes(content[:len(content) // 2])
    result = world.pretrain(run_dir, ranks=2, **options)
    assert "step_000000006" in result.stderr, "the damaged one is named"
    assert "resumed from" in result.stderr and "step_000000003" in result.stderr
    assert without_timing(read_metrics(run_dir)) == without_timing(read_metrics(expected_dir))


def test_no_usable_checkpoint_is_said(world, tmp_path):
    run_dir = tmp_path / "run"
    world.pretrain(run_dir, run__stop_at_step=2)
    for path in (run_dir / "checkpoints").glob("step_*/rank_*.h5"):
        path.write_bytes(path.read_bytes()[:100])
    result = world.pretrain(run_dir, expect=4)
    assert "step_000000002" in result.stderr


def limit_file_size():
    """No file of the child may grow beyond 100 kB, less than a rank's part of a checkpoint: a full disk without one."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def test_a_disk_that_refuses_every_save(world, tmp_path):
    # One rank without a launcher: the limit would hit the launcher's own shared memory first.
    run_dir = tmp_path / "run"
    options = {**OPTIONS, "checkpoint__interval_steps": 4}
    world.pretrain(tmp_path / "unbroken", **options)
    world.pretrain(run_dir, **options, run__stop_at_step=4)
    process = osler_run.start(["pretrain", *world.pretrain_args(run_dir, **options)], preexec_fn=limit_file_size)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 5, stderr
    assert stderr.count("failed and is tried again") == 2, "two failed saves do not stop the run, the third does"
    assert all("warning" in line for line in stderr.splitlines() if "failed and is tried again" in line)
    assert checkpoints(run_dir) == ["step_000000004"], "the previous one is untouched, nothing half-written is left"
    world.pretrain(run_dir, **options)
    assert without_timing(read_metrics(run_dir)) == without_timing(read_metrics(tmp_path / "unbroken"))
