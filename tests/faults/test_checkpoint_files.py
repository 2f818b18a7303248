"""Flipped bits, cut, swapped and missing files in a saved checkpoint: always refused by name, and the one before is used."""

import json
import random
import shutil

import pytest

from osler_run import make_world, run

SEED = 20260131
NUM_CASES = 120


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def saved(world, tmp_path_factory):
    """A run of two ranks that was stopped with two checkpoints, steps 5 and 10, of 20."""
    run_dir = tmp_path_factory.mktemp("saved") / "run"
    world.pretrain(run_dir, ranks=2, run__stop_at_step=10, checkpoint__keep=2)
    names = sorted(p.name for p in (run_dir / "checkpoints").iterdir())
    assert names == ["step_000000005", "step_000000010"]
    return run_dir


def test_kept_steps_stay(world, tmp_path):
    """Saved when reached, off the interval, and not counted among the newest."""
    world.pretrain(tmp_path / "run", run__stop_at_step=10, checkpoint__keep=1, checkpoint__interval_steps=2, checkpoint__keep_step=3)
    names = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["step_000000003", "step_000000010"]


def newest(run_dir):
    return run_dir / "checkpoints" / "step_000000010"


def files_of(checkpoint):
    return sorted(p.relative_to(checkpoint) for p in checkpoint.rglob("*") if p.is_file())


def flip(path, rng):
    content = bytearray(path.read_bytes())
    at = rng.randrange(len(content))
    content[at] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return f"bit at byte {at}"


def truncate(path, rng):
    size = path.stat().st_size
    edges = [0, 1, size - 1] + [e + d for e in range(4096, size, 4096) for d in (-1, 0, 1) if e + d < size]
    length = rng.choice(edges)
    with open(path, "r+b") as file:
        file.truncate(length)
    return f"cut to {length} of {size}"


def append(path, rng):
    with open(path, "ab") as file:
        file.write(bytes([rng.randrange(1, 256)]))
    return "one byte more"


def zero_block(path, rng):
    content = bytearray(path.read_bytes())
    filled = [i for i, byte in enumerate(content) if byte]
    at = rng.choice(filled)
    content[at:at + 512] = bytes(len(content[at:at + 512]))
    path.write_bytes(content)
    return f"zeros from byte {at}"


def delete(path, _rng):
    path.unlink()
    return "deleted"


DAMAGE = [flip, flip, flip, truncate, truncate, append, zero_block, delete]


def test_every_damage_is_refused_by_name(saved, tmp_path):
    rng = random.Random(SEED)
    original = newest(saved)
    files = files_of(original)
    kinds = {str(f).split("_")[0] if str(f).startswith("rank") else str(f) for f in files}
    assert {"rank", "index.h5", "manifest.json"} <= kinds and any(k.startswith("tokenizer/") for k in kinds)
    for case in range(NUM_CASES):
        damaged = tmp_path / f"case_{case}"
        shutil.copytree(original, damaged)
        victim = files[case % len(files)]
        what = rng.choice(DAMAGE)(damaged / victim, rng)
        result = run(["inspect", damaged, "--verify"], expect=None)
        if victim.name == "manifest.json" and result.returncode == 0:
            # White space is the only thing that may differ unnoticed.
            assert json.loads((damaged / victim).read_text()) == json.loads((original / victim).read_text()), what
        else:
            assert result.returncode == 4, f"{victim}: {what}: exit {result.returncode}\n{result.stderr}"
            assert str(victim) in result.stderr, f"{victim}: {what}\n{result.stderr}"
        shutil.rmtree(damaged)


def swap_ranks(checkpoint):
    a, b = checkpoint / "rank_00000.h5", checkpoint / "rank_00001.h5"
    a.rename(checkpoint / "x")
    b.rename(a)
    (checkpoint / "x").rename(b)


def foreign_step(checkpoint):
    shutil.copy(checkpoint.parent / "step_000000005/rank_00001.h5", checkpoint / "rank_00001.h5")


def foreign_manifest(checkpoint):
    shutil.copy(checkpoint.parent / "step_000000005/manifest.json", checkpoint / "manifest.json")


FALLBACKS = {
    "rank file flipped": (lambda c: flip(c / "rank_00001.h5", random.Random(1)), "rank_00001.h5"),
    "rank file empty": (lambda c: (c / "rank_00000.h5").write_bytes(b""), "rank_00000.h5"),
    "ranks swapped": (swap_ranks, "rank_0000"),
    "another step's file": (foreign_step, "rank_00001.h5"),
    "another step's manifest": (foreign_manifest, "rank_0000"),
    "manifest cut": (lambda c: truncate(c / "manifest.json", random.Random(2)), "manifest.json"),
}


@pytest.mark.parametrize("what", list(FALLBACKS))
def test_a_damaged_checkpoint_is_set_aside_and_the_run_ends_as_if_it_had_never_been(world, saved, reference, tmp_path, what):
    damage, named = FALLBACKS[what]
    run_dir = tmp_path / "run"
    shutil.copytree(saved, run_dir)
    damage(newest(run_dir))
    result = world.pretrain(run_dir, ranks=2)
    assert named in result.stderr and ".bad-step_000000010" in result.stderr
    assert (run_dir / "checkpoints/.bad-step_000000010").is_dir()
    assert sums(run_dir) == reference


def sums(run_dir):
    manifest = json.loads((run_dir / "checkpoints/step_000000020/manifest.json").read_text())
    return {f["name"]: f["sha256"] for f in manifest["files"] if f["name"].startswith("rank_")}


@pytest.fixture(scope="module")
def reference(world, tmp_path_factory):
    """The rank files' sums at the end of the run that nothing happened to."""
    run_dir = tmp_path_factory.mktemp("reference") / "run"
    world.pretrain(run_dir, ranks=2)
    return sums(run_dir)


def test_with_no_good_checkpoint_left_the_run_does_not_start_over(world, saved, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(saved, run_dir)
    for step in (run_dir / "checkpoints").iterdir():
        (step / "rank_00000.h5").write_bytes(b"x")
    for _ in range(2):  # nor the second time, when both stand aside already
        result = world.pretrain(run_dir, ranks=2, expect=4)
        assert "no usable checkpoint" in result.stderr
