"""Bad inputs: each gets its exit code, a message that names the culprit, and nothing half-written.

A test file registers rows with `row = Table()`: a function that prepares the bad thing and returns (arguments, culprits,
paths that must not exist), decorated with @row(exit code); and checks them with check(function, code, place).
"""

import json
import pathlib
import shutil
import struct

import pytest
from osler_run import make_world, run

USAGE, DATA, CHECKPOINT, STORAGE = 2, 3, 4, 5


class Table(list):
    """Rows for pytest.mark.parametrize("prepare,code", table)."""

    def __call__(self, code):
        def register(function):
            self.append(pytest.param(function, code, id=function.__name__))
            return function
        return register


def make_trained(folder):
    """A tiny world, a finished run on it with two checkpoints, and the run's export: (world, folder)."""
    world = make_world(folder / "world")
    world.pretrain(folder / "run", run__steps=4, checkpoint__interval_steps=2)
    run(["convert", "--input", folder / "run", "--output", folder / "hf"])
    return world, folder


class Place:
    """Where one row works: a fresh folder beside the world and the trained run."""

    def __init__(self, world, trained, tmp_path):
        self.world, self.trained, self.tmp = world, trained, tmp_path

    def file(self, name, content):
        path = self.tmp / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def pretrain(self, culprits, **overrides):
        out = self.tmp / "run"
        return ["pretrain", *self.world.pretrain_args(out, **overrides)], culprits, [out / "metrics.jsonl", out / "done"]

    def tokenize(self, source, culprits, *more):
        out = self.tmp / "tokens"
        return (["tokenize", f"--tokenize.input=x:{source}", f"--tokenize.tokenizer={self.world.tokenizer}",
                 f"--tokenize.output={out}", *more], culprits, [out / "tokenize.json"])

    def convert(self, source, culprits):
        out = self.tmp / "converted"
        return ["convert", "--input", source, "--output", out], culprits, [out]

    def evaluate(self, task, culprits, model=None):
        out = self.tmp / "eval"
        return (["evaluate", f"--eval.model={model or self.trained / 'hf'}", f"--eval.task={task}",
                 f"--eval.output={out}"], culprits, [out])

    def hf(self):
        return pathlib.Path(shutil.copytree(self.trained / "hf", self.tmp / "hf"))

    def safetensors(self, header, body=b""):
        """A Hugging Face directory whose one weight file has this header (bytes or object)."""
        folder = self.hf()
        for old in folder.glob("*.safetensors*"):
            old.unlink()
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
        return folder

    def run_copy(self):
        return pathlib.Path(shutil.copytree(self.trained / "run", self.tmp / "run"))


def check(prepare, code, place):
    arguments, culprits, must_not_exist = prepare(place)
    result = run(arguments, expect=None)
    assert result.returncode == code, result.stderr
    for culprit in culprits:
        assert str(culprit) in result.stderr, f"{culprit} is not named in:\n{result.stderr}"
    assert "terminate called" not in result.stderr and "Traceback" not in result.stderr
    for path in must_not_exist:
        assert not path.exists(), f"{path} was written"
