"""T12: a file system that is slow, and that shows other nodes late what was written: no deadlock, no file called missing that
rank 0 sees, and an end to the waiting. strace delays and refuses the calls, rank by rank."""

import json
import os
import random
import shlex
import shutil
import subprocess
import time

import pytest

import exam_files
import osler_run
from osler_run import read_metrics, run, without_timing

NIGHTLY = os.environ.get("OSLER_NIGHTLY") == "1"
OPTIONS = {"run__steps": 8, "checkpoint__interval_steps": 4, "checkpoint__keep": 2}
pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace (Debian package strace) is not installed")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return osler_run.make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def reference(world, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("reference") / "run"
    world.pretrain(run_dir, ranks=2, **OPTIONS)
    return run_dir


def traced(rank_options, args):
    """mpirun of one rank per entry, each under strace with its options (None: none)."""
    command = [osler_run.MPIRUN]
    for number, options in enumerate(rank_options):
        wrapper = [] if options is None else ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", *options]
        command += ([":"] if number else []) + ["-n", "1", *wrapper, osler_run.OSLER, *map(str, args)]
    return command


def run_traced(rank_options, args, expect=0, timeout=600):
    command = traced(rank_options, args)
    result = subprocess.run(command, env=osler_run.environment(), capture_output=True, text=True, timeout=timeout)
    assert result.returncode == expect, f"exit {result.returncode}: {shlex.join(command)}\n{result.stdout[-2000:]}\n{result.stderr[-5000:]}"
    return result


def refusing(folder, error, count):
    """The first `count` opens of each file below `folder` fail with `error`."""
    paths = [str(path) for path in sorted(folder.rglob("*"))]
    # strace counts calls, not paths: those of one path after the other.
    return [word for path in [str(folder), *paths] for word in ("-P", path)] + \
        ["-e", "trace=openat", "-e", f"inject=openat:error={error}:when=1..{count}"]


def same_end(run_dir, reference):
    assert without_timing(read_metrics(run_dir)) == without_timing(read_metrics(reference))
    sums = [{f["name"]: f["sha256"] for f in json.loads((r / "checkpoints" / "step_000000008" / "manifest.json").read_text())["files"]
             if f["name"].startswith("rank_")} for r in (run_dir, reference)]
    assert sums[0] == sums[1]


@pytest.mark.parametrize("error", ["ENOENT", "ESTALE"])
def test_a_rank_that_sees_a_checkpoint_late_waits_for_it(world, reference, tmp_path, error):
    run_dir = tmp_path / "run"
    world.pretrain(run_dir, ranks=2, **OPTIONS, run__stop_at_step=4)
    checkpoint = run_dir / "checkpoints" / "step_000000004"
    args = ["pretrain", *world.pretrain_args(run_dir, **OPTIONS)]
    told = run_traced([None, refusing(checkpoint, error, 8)], args).stderr
    assert f"resumed from {checkpoint}" in told
    assert "damaged" not in told and "missing" not in told
    assert not list((run_dir / "checkpoints").glob(".bad-*"))
    same_end(run_dir, reference)


def test_the_waiting_ends_and_nothing_is_called_damaged(world, tmp_path):
    run_dir = tmp_path / "run"
    world.pretrain(run_dir, ranks=2, **OPTIONS, run__stop_at_step=4)
    checkpoint = run_dir / "checkpoints" / "step_000000004"
    args = ["pretrain", *world.pretrain_args(run_dir, **OPTIONS), "--files.visible_within_s=1"]
    started = time.monotonic()
    told = run_traced([None, refusing(checkpoint, "ENOENT", 60000)], args, expect=5).stderr
    assert "which rank 0 sees, is not visible here after 1 s" in told and str(checkpoint) in told
    assert time.monotonic() - started < 120
    assert sorted(path.name for path in (run_dir / "checkpoints").iterdir()) == ["step_000000004"]


def test_what_is_missing_for_rank_0_is_missing(world, reference, tmp_path):
    """Nobody waits for a file that is gone: the one before is used at once."""
    run_dir = tmp_path / "run"
    world.pretrain(run_dir, ranks=2, **OPTIONS, run__stop_at_step=6)
    (run_dir / "checkpoints" / "step_000000006" / "rank_00001.h5").unlink()
    told = world.pretrain(run_dir, ranks=2, **OPTIONS).stderr
    assert "rank_00001.h5' is missing" in told and "resumed from" in told and "step_000000004" in told
    same_end(run_dir, reference)


@pytest.mark.parametrize("error", ["ENOENT", "ESTALE"] if NIGHTLY else ["ESTALE"])
def test_weights_that_show_late(world, tmp_path, error):
    """model.from of pretrain and eval.model of evaluate: rank 0 chooses the checkpoint, rank 1 waits until it sees it."""
    run(["convert", "--input", exam_files.make_model(tmp_path / "hf", vocab_size=osler_run.VOCAB_SIZE), "--output", tmp_path / "start"])
    run_dir = tmp_path / "run"
    late = refusing(tmp_path / "start", error, 8)
    args = world.pretrain_args(run_dir, model__config=None, model__from=tmp_path / "start", model__tokenizer=None, run__steps=1, optim__warmup_steps=1,
                               data__source=tokens_of(world, tmp_path))
    told = run_traced([None, late], ["pretrain", *args]).stderr
    assert "damaged" not in told and "missing" not in told
    exam = exam_files.write_lines(tmp_path / "exam.jsonl", exam_files.medqa_records(random.Random(3), 4))
    evaluate = ["evaluate", f"--eval.model={tmp_path / 'start'}", f"--eval.task=medqa_4options:{exam}", "--parallel.dtype=fp32"]
    told = run_traced([None, late], [*evaluate, f"--eval.output={tmp_path / 'late'}"]).stderr
    assert "damaged" not in told and "missing" not in told
    run([*evaluate, f"--eval.output={tmp_path / 'plain'}"], ranks=2)
    assert (tmp_path / "late" / "samples_medqa_4options.jsonl").read_bytes() == (tmp_path / "plain" / "samples_medqa_4options.jsonl").read_bytes()


def tokens_of(world, folder):
    """Shards made with the tokenizer of exam_files' model."""
    run(["tokenize", f"--tokenize.input=general:{world.corpora / 'general.jsonl'}", f"--tokenize.tokenizer={folder / 'hf'}",
         f"--tokenize.output={folder / 'tokens'}"])
    return f"general:1:{folder / 'tokens' / 'general'}"


DELAYS_US = {"fsync": 200_000, "rename": 500_000, "renameat2": 500_000, "mkdir": 100_000, "unlink": 100_000, "openat": 50_000, "newfstatat": 50_000}


@pytest.mark.parametrize("slow", [(0, 1), (0,), (1,)] if NIGHTLY else [(0, 1)])
def test_a_slow_file_system_costs_time_only(world, reference, tmp_path, slow):
    """Opens, stats, fsyncs, renames and others take 50 to 500 ms each, once libraries and MPI are up, on the first rank, the
    second or both."""
    run_dir = tmp_path / "run"
    before = calls_at_start()
    options = [word for call, delay_us in DELAYS_US.items()
               for word in ("-e", f"inject={call}:delay_enter={delay_us}:when={before.get(call, 0) + 1}+")]
    ranks = [options if rank in slow else None for rank in (0, 1)]
    told = run_traced(ranks, ["pretrain", *world.pretrain_args(run_dir, **{**OPTIONS, "checkpoint__interval_steps": 8})]).stderr
    assert "warning" not in told, told
    same_end(run_dir, reference)


def calls_at_start():
    """{call: how often the program makes it before it does anything of its own}."""
    counted = subprocess.run([osler_run.MPIRUN, "-n", "1", "strace", "-f", "-c", "-e", "trace=" + ",".join(DELAYS_US), osler_run.OSLER, "pretrain", "--help"],
                             env=osler_run.environment(), capture_output=True, text=True)
    rows = [line.split() for line in counted.stderr.splitlines()]
    return {row[-1]: int(row[3]) for row in rows if row and row[-1] in DELAYS_US}
