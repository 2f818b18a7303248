"""`osler inspect`: every file that the other verbs write, alone or in its folder; damage is found and named. And two
checkpoints, runs or models against each other."""

import hashlib
import json
import re
import shutil

import numpy as np
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


# ------------------------------------------------------------------------------------------------- two of them
def newest(run_dir):
    return sorted((run_dir / "checkpoints").glob("step_*"))[-1]


def changed_copy(step, folder, change):
    """A copy of a checkpoint with change(manifest) made and the manifest's own sum put right."""
    copy = shutil.copytree(step, folder)
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["manifest_sha256"]
    change(copy, manifest)
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    manifest["manifest_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


def number_of_tensors(step):
    return len(json.loads((step / "manifest.json").read_text())["tensors"])


def tensor_rows(text):
    """{tensor: columns} of the table of what differs."""
    rows = [re.split(r"  +", line) for line in text.splitlines()]
    begin = next((i for i, row in enumerate(rows) if row[0] == "tensor"), len(rows))
    return {row[0]: row[1:] for row in rows[begin + 1:-2]}


def test_a_run_equals_its_newest_checkpoint(trained):
    run_dir = trained[1] / "run"
    for other in (run_dir, run_dir / "checkpoints", newest(run_dir), newest(run_dir) / "manifest.json"):
        text = inspect(run_dir, other, "--require-equal", "--verify")
        assert text.splitlines()[-1] == f"equal: {number_of_tensors(newest(run_dir))} tensors, bit for bit"
        assert not tensor_rows(text) and "->" not in text


def test_two_runs_of_one_layout_are_equal(trained, tmp_path):
    trained[0].pretrain(tmp_path / "again", run__steps=4, checkpoint__interval_steps=2, run__log_every=2)
    text = inspect(trained[1] / "run", tmp_path / "again", "--require-equal")
    assert "equal: " in text.splitlines()[-1]
    assert "run.log_every: 1 -> 2" in text and "run.dir" in text, "shown, and not counted"


def test_two_layouts_are_as_far_apart_as_rounding(trained, tmp_path):
    for name, ranks, tp in (("one", 1, 1), ("dp", 2, 1), ("tp", 2, 2)):
        trained[0].pretrain(tmp_path / name, ranks=ranks, parallel__tp=tp, run__stop_at_step=1)
    for name in ("dp", "tp"):
        text = inspect(tmp_path / "one", tmp_path / name)
        rows, verdict = tensor_rows(text), text.splitlines()[-1]
        found = re.fullmatch(r"(\d+) of (\d+) tensors differ, largest relative distance (\S+) in (\S+)", verdict)
        assert found, verdict
        assert int(found[1]) == len(rows) and int(found[2]) == number_of_tensors(newest(tmp_path / name))
        assert list(rows) == sorted(rows)
        assert float(found[3]) == max(float(row[2]) for row in rows.values()) < 1e-4
        assert found[4] in rows and all(row[0] == "values" for row in rows.values())
        assert ("parallel.tp: 1 -> 2" in text) == (name == "tp")
    assert "tensors differ" in inspect(tmp_path / "one", tmp_path / "tp", "--require-equal", expect=3)


def test_a_reshard_keeps_every_weight(trained, tmp_path):
    """Saved by one rank, read and saved again by others a step later, whose rate is too small to move a weight."""
    start = tmp_path / "one"
    trained[0].pretrain(start, mixture=True, run__stop_at_step=3)
    kept = [name for name in json.loads((newest(start) / "manifest.json").read_text())["tensors"]
            if name["name"].startswith("optim/master/")]
    for name, ranks, tp, ep in (("tp", 2, 2, 1), ("ep", 2, 1, 2), ("both", 4, 2, 4)):
        moved = shutil.copytree(start, tmp_path / name)
        trained[0].pretrain(moved, ranks=ranks, mixture=True, parallel__tp=tp, parallel__ep=ep, run__stop_at_step=4,
                            optim__learning_rate=1e-60, optim__min_learning_rate=0)
        text = inspect(start, moved)
        assert kept and not [row for row in tensor_rows(text) if row.startswith("optim/master/")]
        assert len(tensor_rows(text)) == 2 * len(kept), "both moments of each took a step"
        assert "step: 3 -> 4" in text and "source general: " in text
        assert text.splitlines()[-1].endswith("; model or run state differ")


def test_a_flipped_element_is_found(trained, tmp_path):
    step, name = newest(trained[1] / "run"), "optim/exp_avg/model.norm.weight"

    def flip(copy, manifest):
        tensor = next(tensor for tensor in manifest["tensors"] if tensor["name"] == name)
        piece = tensor["pieces"][0]
        file = manifest["files"][piece["file"]]
        content = bytearray((copy / file["name"]).read_bytes())
        values = np.frombuffer(content, dtype="<f4", count=tensor["shape"][0], offset=piece["at"])
        flip.expected, flip.norm = np.float64(values[5]), np.linalg.norm(values.astype(np.float64))
        values[5] += 1
        flip.expected = np.float64(values[5]) - flip.expected
        (copy / file["name"]).write_bytes(content)
        file["sha256"] = hashlib.sha256(content).hexdigest()

    copy = changed_copy(step, tmp_path / step.name, flip)
    text = inspect(copy, step, "--verify")
    assert text.splitlines()[-1] == (f"1 of {number_of_tensors(step)} tensors differ, largest relative distance "
                                     f"{flip.expected / flip.norm:.2e} in {name}")
    assert tensor_rows(text) == {name: ["values", f"{flip.expected:.2e}", f"{flip.expected / flip.norm:.2e}", "1", "32"]}
    assert name in inspect(copy, step, "--require-equal", expect=3)
    shutil.copy(step / "manifest.json", copy)  # whose sums are others
    assert f"1 of {number_of_tensors(step)} tensors" in inspect(step, copy)
    assert "rank_00000.h5" in inspect(step, copy, "--verify", expect=4)


def test_state_alone_counts_too(trained, tmp_path):
    step = newest(trained[1] / "run")

    def change(copy, manifest):
        manifest["state"]["seed"] += 1
        manifest["state"]["ledger"]["clinical"]["epoch"] += 1

    copy = changed_copy(step, tmp_path / step.name, change)
    text = inspect(step, copy)
    assert "  seed: 11 -> 12\n" in text and re.search(r"source clinical: .*epoch 0 -> .*epoch 1\n", text)
    assert text.splitlines()[-1] == f"equal: {number_of_tensors(step)} tensors, bit for bit; model or run state differ"
    assert "run state differ" in inspect(step, copy, "--require-equal", expect=3)


def test_other_names_and_shapes(trained, tmp_path):
    world = trained[0]
    config = json.loads(world.mistral.read_text()) | {"intermediate_size": 48, "num_hidden_layers": 1}
    (tmp_path / "config.json").write_text(json.dumps(config))
    world.pretrain(tmp_path / "run", model__config=tmp_path / "config.json", run__steps=4)
    text = inspect(trained[1] / "run", tmp_path / "run")
    rows = tensor_rows(text)
    assert rows["optim/master/model.layers.0.mlp.up_proj.weight"][0] == "shape [64, 32] / [48, 32]"
    assert rows["optim/master/model.layers.1.mlp.up_proj.weight"][0] == "only in A"
    assert rows["optim/exp_avg/model.norm.weight"][0] == "values"
    assert "model intermediate_size: 64 -> 48" in text
    assert tensor_rows(inspect(tmp_path / "run", trained[1] / "run"))[
        "optim/master/model.layers.1.mlp.up_proj.weight"][0] == "only in B"


def test_an_export_equals_its_checkpoint(trained, tmp_path):
    run_dir, exported = trained[1] / "run", trained[1] / "hf"
    count = number_of_tensors(newest(run_dir)) // 3
    run(["convert", "--input", run_dir, "--output", tmp_path / "bf16", "--dtype", "bf16"])
    run(["convert", "--input", exported, "--output", tmp_path / "back"])
    for a, b in ((run_dir, exported), (tmp_path / "bf16", run_dir), (exported, tmp_path / "back"), (tmp_path / "back", run_dir)):
        assert inspect(a, b, "--require-equal").splitlines()[-1] == f"equal: {count} tensors, bit for bit"
    text = inspect(exported, tmp_path / "bf16")
    norm, embedding = (tensor_rows(text)[f"model/model.{name}.weight"] for name in ("norm", "embed_tokens"))
    assert norm[0] == embedding[0] == "dtype fp32 / bf16" and 0 < float(embedding[2]) < 2 ** -8
    assert f"{count} of {count} tensors differ" in text
    assert f"{count} of {count} tensors differ" in inspect(exported, newest(run_dir).parent / "step_000000002")


@pytest.mark.parametrize("arguments, code, complaint", [
    (["hf", "run", "hf"], 2, "unexpected"),
    (["hf", "--require-equal"], 2, "needs two paths"),
    (["hf", "run", "--equal"], 2, "unexpected '--equal'"),
    (["hf", "gone"], 3, "does not exist"),
    (["hf", "world/shards/general"], 3, "is neither a Hugging Face model"),
    (["hf", "run/metrics.jsonl"], 3, "is no directory"),
])
def test_what_cannot_be_compared(trained, arguments, code, complaint):
    paths = [argument if argument.startswith("-") else trained[1] / argument for argument in arguments]
    assert complaint in run(["inspect", *paths], expect=code).stderr
