"""The program around the verbs: what it says of itself, and how one rank and several leave with an error."""

import os
import pathlib
import re
import subprocess
import time

import pytest

import osler_run
from osler_run import MPIRUN, OSLER, run

USAGE, PEER = 2, 7


def test_version_names_every_library():
    out = run(["--version"]).stdout
    assert re.match(r"osler \d+\.\d+\.\d+", out)
    for name in ("build", "LibTorch", "CUDA", "cuDNN", "NCCL", "MPI", "HDF5"):
        assert re.search(rf"^  {name} .*\d+\.\d", out, re.M), out
    assert "unknown" not in out


def test_help_lists_the_verbs_and_each_helps():
    out = run(["--help"]).stdout
    verbs = re.findall(r"^  (\w+) ", out, re.M)
    assert verbs == ["tokenize", "convert", "pretrain", "finetune", "evaluate", "plan", "inspect"]
    for verb in verbs:
        result = run([verb, "--help"])
        assert verb in result.stdout and result.stderr == ""


@pytest.mark.parametrize("args, culprit", [([], "no verb"), (["pretran"], "did you mean 'pretrain'"), (["xyzzy"], "xyzzy")])
@pytest.mark.parametrize("ranks", [1, 3])
def test_unknown_verbs_are_refused_once(args, culprit, ranks):
    result = run(args, ranks=ranks, expect=USAGE)
    assert result.stdout == "" and result.stderr.count(culprit) == 1, result.stderr


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_an_error_all_ranks_share_is_said_once(ranks):
    result = run(["pretrain", "--run.stepz=3"], ranks=ranks, expect=USAGE)
    assert result.stderr.count("run.stepz") == 1, result.stderr
    assert "MPI_ABORT" not in result.stderr, "ranks that agree leave in order"


def test_a_rank_that_fails_alone_ends_the_job_with_its_code():
    # The second rank is told of five ranks, sees two, and gives up while the first waits for it in a collective.
    launch = [MPIRUN, "-n", "1", OSLER, "pretrain", "--help", ":", "-n", "1", "-x", "PMI_SIZE=5", OSLER, "pretrain", "--help"]
    result = subprocess.run(launch, env=osler_run.environment(), capture_output=True, text=True, timeout=60)
    assert result.returncode == PEER, result.stderr
    assert "[rank 1" in result.stderr or "started 5 ranks but this process sees 2" in result.stderr


def test_ranks_that_cannot_see_each_other_are_refused():
    alone = run(["pretrain", "--help"], env={"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4"}, expect=PEER)
    assert "--mpi=pmix" in alone.stderr


def test_leaves_no_core_file(tmp_path):
    """A limit of 1 byte: no core is so short, and unlike 0 it holds for a handler that the kernel would pipe one to."""
    fifo = tmp_path / "config.ini"  # opening it waits for a writer that never comes
    os.mkfifo(fifo)
    process = osler_run.start(["pretrain", "--config", fifo])
    try:
        deadline = time.monotonic() + 30
        while "osler" not in pathlib.Path(f"/proc/{process.pid}/comm").read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        limit = ""
        while not re.search(r"Max core file size +1 +1", limit) and time.monotonic() < deadline:
            limit = pathlib.Path(f"/proc/{process.pid}/limits").read_text()
            time.sleep(0.05)
        assert re.search(r"Max core file size +1 +1", limit), limit
    finally:
        process.kill()
        process.communicate()
