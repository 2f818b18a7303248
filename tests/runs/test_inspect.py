"""`osler inspect`: every file that the other verbs write, alone or in its folder; damage is found and named."""

import json
import shutil

import pytest
from bad_input import make_trained
from osler_run import run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return make_trained(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def tokens(trained, tmp_path):
    """Two sources in one folder, several shards of each."""
    world, _ = trained
    folder = tmp_path / "tokens"
    run(["tokenize", f"--tokenize.input=clinical:{world.corpora / 'clinical.jsonl'}",
         f"--tokenize.input=general:{world.corpora / 'general.jsonl'}", f"--tokenize.tokenizer={world.tokenizer}",
         f"--tokenize.output={folder}", "--tokenize.shard_tokens=20000"])
    return folder


def inspect(path, *more, expect=0):
    result = run(["inspect", path, *more], expect=expect)
    return result.stderr if expect else result.stdout


def columns(text, first):
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [first])


@pytest.mark.parametrize("more", [[], ["--verify"]])
def test_shards_and_their_report(tokens, more):
    report = json.loads((tokens / "tokenize.json").read_text())["sources"]
    documents, counts, shards = (sum(source[key] for source in report.values()) for key in ("documents", "tokens", "shards"))
    text = inspect(tokens, *more)
    for path in tokens.rglob("*.h5"):
        assert columns(text, str(path.relative_to(tokens)))[-1] == ("verified" if more else "opens")
    assert columns(text, "all") == ["all", str(shards), f"{documents:,}", f"{counts:,}"]
    assert f"{report['general']['tokens']:,}" in columns(text, "general")
    assert "tokenize report" in inspect(tokens / "tokenize.json", *more)
    assert columns(inspect(tokens / "clinical", *more), "all")[3] == f"{report['clinical']['tokens']:,}"
    assert inspect(next(tokens.rglob("*.h5")), *more).startswith("token shard")


def test_damaged_and_missing_shards(tokens):
    paths = sorted(tokens.rglob("*.h5"))
    content = bytearray(paths[0].read_bytes())
    content[-3] ^= 1
    paths[0].write_bytes(content)
    inspect(tokens)
    assert str(paths[0]) in inspect(tokens, "--verify", expect=3)
    paths[0].unlink()
    for path in (tokens, tokens / "tokenize.json"):
        assert "do not hold the same" in inspect(path, "--verify", expect=3)
    paths[1].write_bytes(b"no HDF5")
    assert str(paths[1]) in inspect(tokens, expect=3)


@pytest.mark.parametrize("text, complaint", [
    ("{", "not valid JSON"),
    ("{}", "no 'sources'"),
    ('{"sources": {}}', "'format_version' is missing"),
    ('{"sources": {}, "format_version": 2}', "has format version 2"),
    ('{"sources": {"a": 3}, "format_version": 1}', "'shards' is missing"),
])
def test_bad_reports(tmp_path, text, complaint):
    path = tmp_path / "tokenize.json"
    path.write_text(text)
    error = inspect(path, expect=3)
    assert complaint in error and str(path) in error


def test_files_of_a_checkpoint_stand_for_it(trained, tmp_path):
    step = sorted((trained[1] / "run" / "checkpoints").glob("step_*"))[-1]
    whole = inspect(step, "--verify")
    for name in ("index.h5", "manifest.json"):
        text = inspect(step / name, "--verify")
        assert "model.norm.weight" in text and text.splitlines()[1:] == whole.splitlines()[1:]
    assert "optim/master/model.norm.weight" in inspect(step / "rank_00000.h5")
    copy = shutil.copytree(step, tmp_path / step.name)
    (copy / "rank_00000.h5").unlink()
    assert "rank_00000.h5" in inspect(copy / "index.h5", expect=4)
    (copy / "manifest.json").unlink()
    assert "manifest.json" in inspect(copy / "index.h5", expect=4)


def test_other_files(trained, tmp_path):
    folder = trained[1]
    assert "Mistral" in inspect(folder / "hf" / "config.json") and "Mistral" in inspect(folder / "hf")
    assert "step_000000004" in inspect(folder / "run")
    assert "loss" in inspect(folder / "run" / "metrics.jsonl")
    (tmp_path / "empty").mkdir()
    assert "no token shards" in inspect(tmp_path / "empty", expect=3)
