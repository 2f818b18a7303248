"""T3: flipped bits, cuts, swaps, foreign and missing files, by the thousand: every one is refused with the file's name, and what is not
damaged is not. Verdicts come from one process that runs the program's own verification (tests/support/verify_files.hpp);
test_checkpoint_files.py goes through the executable."""

import json
import os
import pathlib
import random
import shutil
import subprocess

import pytest

import exam_files
import osler_run
from osler_run import make_world, run

SEED = 20261125
FLIPS = 1000 if os.environ.get("OSLER_NIGHTLY") == "1" else 100  # of each kind of file
PAGE = 4096


class Verifier:
    """verdict("checkpoint", path) -> "sound", or exit code and message."""

    def __init__(self):
        self.process = subprocess.Popen([os.environ["OSLER_PARITY_DRIVER"], "verify"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True, env=osler_run.environment())

    def verdict(self, kind, path):
        self.process.stdin.write(f"{kind} {path}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the verifier died on {path}: {self.process.wait()}"
        return answer.strip()


@pytest.fixture(scope="module")
def verifier():
    verifier = Verifier()
    yield verifier
    verifier.process.stdin.close()
    assert verifier.process.wait(timeout=60) == 0


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def saved(world, tmp_path_factory):
    """Two checkpoints of two ranks, steps 2 and 4."""
    run_dir = tmp_path_factory.mktemp("saved") / "run"
    world.pretrain(run_dir, ranks=2, run__steps=8, run__stop_at_step=4, checkpoint__interval_steps=2)
    return run_dir / "checkpoints"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    model = exam_files.make_model(folder / "hf")
    exam = exam_files.write_lines(folder / "exam.jsonl", exam_files.medqa_records(random.Random(3), 6))
    run(["evaluate", f"--eval.model={model}", f"--eval.task=medqa_4options:{exam}", f"--eval.output={folder / 'out'}", "--parallel.dtype=fp32"])
    return folder / "out"


@pytest.fixture
def checkpoint(saved, tmp_path):
    return shutil.copytree(saved / "step_000000004", tmp_path / "step_000000004")


KINDS = ["rank_00000.h5", "rank_00001.h5", "index.h5", "manifest.json", "tokenizer/tokenizer.model"]


def flipped(content, rng):
    damaged = bytearray(content)
    at = rng.randrange(len(damaged))
    damaged[at] ^= 1 << rng.randrange(8)
    return bytes(damaged), f"bit at byte {at}"


def says_the_same(content, damaged):
    """White space of a JSON file is the only thing that may differ unnoticed."""
    try:
        return json.loads(content) == json.loads(damaged)
    except ValueError:
        return False


def count_flips(verifier, kind, target, path, code, named):
    """Flips FLIPS bits of `path` one by one; all must be refused by `named`. Returns how many were."""
    rng = random.Random(f"{SEED} {path.name}")
    content = path.read_bytes()
    refused = 0
    for _ in range(FLIPS):
        damaged, what = flipped(content, rng)
        path.write_bytes(damaged)
        answer = verifier.verdict(kind, target)
        if answer == "sound" and path.suffix == ".json" and says_the_same(content, damaged):
            continue
        assert answer.startswith(f"{code} ") and named in answer, f"{path.name}: {what}: {answer}"
        refused += 1
    path.write_bytes(content)
    assert verifier.verdict(kind, target).endswith("sound")
    print(f"T3 {path.name}: {FLIPS} flips, {refused} refused, {FLIPS - refused} of them white space")
    assert refused >= 0.9 * FLIPS
    return refused


@pytest.mark.parametrize("name", KINDS)
def test_every_flip_in_a_checkpoint_is_refused(verifier, checkpoint, name):
    count_flips(verifier, "checkpoint", checkpoint, checkpoint / name, 4, name)


def test_every_flip_in_a_token_shard_is_refused(verifier, world, tmp_path):
    shard = pathlib.Path(shutil.copy(next((world.shards / "general").rglob("*.h5")), tmp_path / "shard_00000.h5"))
    assert count_flips(verifier, "shard", shard, shard, 3, "shard_00000.h5") == FLIPS


@pytest.mark.parametrize("name", ["results.json", "scores.csv", "scores.h5", "samples_medqa_4options.jsonl"])
def test_every_flip_in_an_evaluation_is_refused(verifier, evaluated, tmp_path, name):
    folder = shutil.copytree(evaluated, tmp_path / "out")
    assert count_flips(verifier, "results", folder, folder / name, 3, name) == FLIPS


def test_every_flip_in_a_journal_costs_the_lines_that_it_hits(verifier, journal, tmp_path):
    folder = shutil.copytree(journal, tmp_path / "journal")
    path = next(folder.glob("rank_*.jsonl"))
    content = path.read_bytes()
    whole = int(verifier.verdict("journal", folder).split()[0])
    assert whole >= 3
    rng = random.Random(SEED)
    for _ in range(FLIPS):
        damaged, what = flipped(content, rng)
        path.write_bytes(damaged)
        left = int(verifier.verdict("journal", folder).split()[0])
        # A newline that is gone joins two lines; one that came cuts one in two.
        assert whole - 2 <= left < whole, what
    print(f"T3 journal: {FLIPS} flips, all found")


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    """What a killed evaluation left."""
    folder = tmp_path_factory.mktemp("journal")
    model = exam_files.make_model(folder / "hf")
    exam = exam_files.write_lines(folder / "exam.jsonl", exam_files.medqa_records(random.Random(3), 40))
    process = osler_run.start(["evaluate", f"--eval.model={model}", f"--eval.task=medqa_4options:{exam}", f"--eval.output={folder / 'out'}",
                               "--parallel.dtype=fp32", "--eval.group_items=2", "--eval.strategy=cot", "--eval.max_new_tokens=24"])
    while not any(path.stat().st_size > 2000 for path in (folder / "out").glob("journal-*/rank_*.jsonl")):
        assert process.poll() is None, process.stderr.read()
    process.kill()
    process.communicate()
    found = next((folder / "out").glob("journal-*"))
    path = next(found.glob("rank_*.jsonl"))
    path.write_bytes(path.read_bytes()[:path.read_bytes().rindex(b"\n") + 1])
    return found


def cuts(size):
    lengths = {0, 1, size - 1} | {edge + d for edge in range(PAGE, size + 1, PAGE) for d in (-1, 0, 1)}
    return sorted(length for length in lengths if 0 <= length < size)


@pytest.mark.parametrize("name", KINDS)
def test_every_cut_of_a_checkpoint_file_is_refused(verifier, checkpoint, name):
    path = checkpoint / name
    content = path.read_bytes()
    lengths = cuts(len(content))
    for length in lengths:
        path.write_bytes(content[:length])
        answer = verifier.verdict("checkpoint", checkpoint)
        if name == "manifest.json" and says_the_same(content, content[:length]):
            continue  # the newline at its end
        assert answer.startswith("4 ") and name in answer, f"cut to {length}: {answer}"
    print(f"T3 {name}: {len(lengths)} cuts, all refused")


def test_every_cut_of_a_token_shard_is_refused(verifier, world, tmp_path):
    content = next((world.shards / "general").rglob("*.h5")).read_bytes()
    path = tmp_path / "shard_00000.h5"
    for length in cuts(len(content)) + [len(content) - 78]:
        path.write_bytes(content[:length])
        answer = verifier.verdict("shard", path)
        assert answer.startswith("3 ") and path.name in answer, f"cut to {length}: {answer}"


def swap_shards(checkpoint, _older):
    a, b = checkpoint / "rank_00000.h5", checkpoint / "rank_00001.h5"
    content = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(content)


def copy_from(name):
    return lambda checkpoint, older: shutil.copy(older / name, checkpoint / name)


def delete(name):
    return lambda checkpoint, _older: (checkpoint / name).unlink()


def empty(name):
    return lambda checkpoint, _older: (checkpoint / name).write_bytes(b"")


def longer(name):
    return lambda checkpoint, _older: (checkpoint / name).write_bytes((checkpoint / name).read_bytes() + b"\0")


DAMAGES = {"swapped shards": (swap_shards, "rank_0000"), "a manifest of another step": (copy_from("manifest.json"), "rank_0000")}
DAMAGES |= {f"{name} of another step": (copy_from(name), name) for name in ("rank_00000.h5", "rank_00001.h5", "index.h5")}
DAMAGES |= {f"{what.__name__} {name}": (what(name), name) for name in KINDS for what in (delete, empty, longer)}


@pytest.mark.parametrize("what", DAMAGES)
def test_other_damage_is_refused(verifier, saved, checkpoint, what):
    damage, named = DAMAGES[what]
    damage(checkpoint, saved / "step_000000002")
    answer = verifier.verdict("checkpoint", checkpoint)
    assert answer.startswith("4 ") and named in answer, answer


def test_inspect_gives_the_same_verdicts(evaluated, world, tmp_path):
    run(["inspect", evaluated, "--verify"])
    folder = shutil.copytree(evaluated, tmp_path / "out")
    (folder / "scores.csv").write_text((folder / "scores.csv").read_text().replace("0", "1", 1))
    assert "scores.csv" in run(["inspect", folder, "--verify"], expect=3).stderr
    shard = next((world.shards / "general").rglob("*.h5"))
    assert "the whole file has its SHA-256" in run(["inspect", shard, "--verify"]).stdout
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert "damaged.h5" in run(["inspect", damaged, "--verify"], expect=3).stderr
