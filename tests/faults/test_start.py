"""T11: what can be known at the start is said at the start, in a dry run too: places that cannot be written, space that will not do,
a run folder that another job is using."""

import os
import re
import signal
import subprocess
import time

import pytest

import osler_run
import places
from osler_run import read_metrics, run, without_timing

VERBS = ["tokenize", "convert", "pretrain", "finetune", "evaluate"]
BAD = ["read-only", "no file numbers", "a file in the way", "a link to nothing", "no rights"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return osler_run.make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    return places.make_places(tmp_path_factory.mktemp("places"))


def require_mounts(place):
    if place.set_up and (reason := places.can_mount()):
        pytest.skip(reason)


def arguments(verb, world, output):
    """(arguments with `output` as the place to write to, name of that option)"""
    if verb == "tokenize":
        return ["tokenize", f"--tokenize.input=a:{world.corpora / 'general.jsonl'}", f"--tokenize.tokenizer={world.tokenizer}",
                f"--tokenize.output={output}"], "tokenize.output"
    if verb == "convert":
        return ["convert", "--input", world.mistral.parent, "--output", output], "convert.output"
    if verb == "evaluate":
        return ["evaluate", f"--eval.model={world.mistral.parent}", "--eval.task=exam:none.jsonl", f"--eval.output={output}"], "eval.output"
    args = world.pretrain_args(output)
    return [verb, *args], "run.dir"


@pytest.mark.parametrize("how", BAD)
@pytest.mark.parametrize("verb", VERBS)
def test_a_dry_run_refuses_what_cannot_be_written(world, bad, verb, how):
    place = bad[how]
    require_mounts(place)
    output = place.path / "out"
    args, option = arguments(verb, world, output)
    told = places.run_in(place, [*args, "--dry-run"], expect=5).stderr
    assert option in told and str(place.path) in told and place.said in told, told


@pytest.mark.parametrize("how", BAD)
def test_a_run_refuses_before_it_opens_anything(world, bad, how):
    """The data do not exist: whoever looked at them first would say that."""
    place = bad[how]
    require_mounts(place)
    args = world.pretrain_args(place.path / "below" / "run", data__source="a:1:not/there")
    told = places.run_in(place, ["pretrain", *args], expect=5).stderr
    assert "run.dir" in told and place.said in told


def test_a_trace_that_cannot_be_written(world, bad, tmp_path):
    place = bad["no rights"]
    args = world.pretrain_args(tmp_path / "run", run__trace=place.path / "trace")
    told = places.run_in(place, ["pretrain", *args, "--dry-run"], expect=5).stderr
    assert "run.trace" in told and "Permission denied" in told


def modes(folder):
    return {path.relative_to(folder): path.stat().st_mode & 0o777 for path in folder.rglob("*")}


def test_places_that_can_be_written(world, tmp_path, monkeypatch):
    """Missing parents, relative paths, a link to a folder and a narrow umask."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    options = {"run__steps": 2, "optim__warmup_steps": 1, "checkpoint__interval_steps": 1}
    for place in ("missing/parents/run", "relative", "link", "link/below/run"):
        world.pretrain(place, **options, run__trace=f"{place}-traces/t")
        assert (tmp_path / place / "done").exists() and (tmp_path / f"{place}-traces").is_dir()
    assert (tmp_path / "real" / "checkpoints").is_dir()
    command = osler_run.command(["pretrain", *world.pretrain_args("narrow", **options)])
    subprocess.run(["sh", "-c", 'umask 077; exec "$@"', "sh", *command], env=osler_run.environment(), check=True, capture_output=True)
    assert set(modes(tmp_path / "narrow").values()) == {0o600, 0o700}
    world.pretrain("narrow", **{**options, "run__steps": 3})


def test_a_dry_run_leaves_nothing(world, tmp_path):
    args = world.pretrain_args(tmp_path / "a" / "run", run__trace=tmp_path / "b" / "trace")
    run(["pretrain", *args, "--dry-run"])
    assert list(tmp_path.iterdir()) == []


def on_small_disk(mount, size):
    return places.Place(mount, "", f"mount -t tmpfs -o size={size} tmpfs '{mount}'")


def test_space_is_counted_before_the_first_step(world, tmp_path):
    mount = tmp_path / "mount"
    mount.mkdir()
    args = ["pretrain", *world.pretrain_args(mount / "run", checkpoint__keep=2)]
    small = on_small_disk(mount, 65536)
    require_mounts(small)
    for more in ([], ["--dry-run"]):
        told = places.run_in(small, [*args, *more], expect=5).stderr
        assert "not enough space for a checkpoint" in told and "files.check_space=off" in told and "bytes are free" in told
    one = int(re.search(r"a checkpoint takes (\d+) bytes", told).group(1))
    world.pretrain(tmp_path / "measured", run__steps=1, optim__warmup_steps=1)
    saved = sum(path.stat().st_size for path in (tmp_path / "measured" / "checkpoints" / "step_000000001").glob("rank_*.h5"))
    assert 0.8 * one < saved < 1.2 * one  # of so small a model the headers are a part
    told = places.run_in(small, [*args, "--files.check_space=off", "--dry-run"], expect=0).stderr
    assert "3 more will lie there at a time" in told and "warning" in told
    # Room for one, not for keep + 1: a warning, and a run.
    told = places.run_in(on_small_disk(mount, 2 * one), [*args, "--dry-run"], expect=0).stderr
    assert "3 more will lie there at a time" in told and "lower checkpoint.keep" in told
    told = places.run_in(on_small_disk(mount, 8 * one), [*args, "--dry-run"], expect=0).stderr
    assert "bytes are free" not in told
    told = places.run_in(on_small_disk(mount, 4 * one), [*args, "--checkpoint.keep_step=3", "--checkpoint.keep_step=7", "--dry-run"], expect=0).stderr
    assert "5 more will lie there at a time" in told


# ------------------------------------------------------------------------------------------------- two jobs, one folder
LONG = {"run__steps": 4000, "checkpoint__interval_steps": 50}


def wait_for_rows(run_dir, process):
    deadline = time.monotonic() + 300
    while not (run_dir / "metrics.jsonl").exists() or not read_metrics(run_dir):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_second_job_on_the_same_folder_is_refused_and_a_dead_one_replaced(world, tmp_path):
    run_dir = tmp_path / "run"
    first = osler_run.start(["pretrain", *world.pretrain_args(run_dir, **LONG)])
    wait_for_rows(run_dir, first)
    told = world.pretrain(run_dir, **LONG, files__owner_silence_s=1, expect=2).stderr
    assert "is in use by another job" in told and f"process {first.pid} on" in told
    assert first.poll() is None
    first.kill()
    first.communicate()
    told = world.pretrain(run_dir, **{**LONG, "run__steps": 60}).stderr
    assert "is dead; taking over" in told
    assert not (run_dir / ".owner").exists()


def test_a_job_that_was_taken_over_writes_nothing_any_more(world, tmp_path):
    """Stopped in a process table of its own, as on another node, longer than files.owner_silence_s."""
    if subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True).returncode != 0:
        pytest.skip("the kernel refuses process namespaces")
    run_dir = tmp_path / "run"
    args = ["pretrain", *world.pretrain_args(run_dir, **{**LONG, "checkpoint__interval_steps": 4000}), "--files.owner_silence_s=2"]
    outer = subprocess.Popen(["unshare", "--pid", "--fork", *osler_run.command(args)], env=osler_run.environment(), text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    wait_for_rows(run_dir, outer)
    told = run(args, expect=2).stderr  # it lives: it gave a sign while the second one watched
    assert "is in use by another job" in told
    inner = osler_run.children(outer.pid)[0]
    os.kill(inner, signal.SIGSTOP)
    run([*args, f"--run.stop_at_step={len(read_metrics(run_dir)) + 20}"])
    names = sorted(path.name for path in (run_dir / "checkpoints").iterdir())
    rows = without_timing(read_metrics(run_dir))
    (run_dir / ".owner").write_text("host node07\nprocess 1\ntable elsewhere\njob \nrestarts 0\nnumber 1\n")
    os.kill(inner, signal.SIGCONT)
    _, told = outer.communicate(timeout=300)
    assert outer.returncode == 2 and "taken over by another job" in told, told
    assert sorted(path.name for path in (run_dir / "checkpoints").iterdir()) == names
    assert without_timing(read_metrics(run_dir)) == rows
    assert "node07" in (run_dir / ".owner").read_text()
