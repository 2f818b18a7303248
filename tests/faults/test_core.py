"""T14: a crash leaves no memory behind: no core file, no collector asked, and nothing said of the data."""

import os
import pathlib
import re
import resource
import signal
import time

import pytest

import osler_run
from osler_run import read_metrics

CANARY = b"qzxcanary"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return osler_run.make_world(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("name", ["SEGV", "ABRT", "QUIT"])
def test_a_crash_leaves_no_core(world, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    run_dir = tmp_path / "run"
    args = world.pretrain_args(run_dir, run__steps=4000, model__tokenizer=world.tokenizer)
    unlimited = lambda: resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    process = osler_run.start(["pretrain", *args], env={"CANARY": CANARY.decode()}, preexec_fn=unlimited)
    while not (run_dir / "metrics.jsonl").exists() or not read_metrics(run_dir):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    # 1 byte: no file is that short, and 0 would not keep a collector from being asked (core(5)).
    limits = pathlib.Path(f"/proc/{process.pid}/limits").read_text()
    assert re.search(r"^Max core file size +1 +1 +bytes", limits, re.MULTILINE), limits
    process.send_signal(getattr(signal, f"SIG{name}"))
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == -getattr(signal, f"SIG{name}")
    assert os.listdir(tmp_path) == ["run"]
    left = [path.name for path in run_dir.rglob("*") if path.is_file() and path.name.startswith("core")]
    assert left == []
    assert CANARY.decode() not in stderr
    for path in run_dir.rglob("*"):
        assert path.is_dir() or CANARY not in path.read_bytes(), path
