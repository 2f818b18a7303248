"""analysis/ on small files written here: right numbers, and malformed files refused with their name and line."""

import json
import math
import pathlib
import subprocess
import sys

import h5py
import numpy
import pytest

ANALYSIS = pathlib.Path(__file__).resolve().parents[2] / "analysis"
sys.path.insert(0, str(ANALYSIS))

import read_tables  # noqa: E402
from read_tables import TableError  # noqa: E402

HEADER = ("schema_version,model,tokens_seen,fine_tuned,neftune_alpha,task,subset,strategy,scoring,shots,metric,value,stderr,ci_low,ci_high,n,unparsed,"
          "seed,config_hash,build,date")
ROW = "1,runs/base,2048,0,0.0,exam,all,zero-shot,text,0,acc,0.5,0.288675134594813,0.15,0.85,4,0,1234,00ff,0.1.0,2026-01-01T00:00:00Z"


def metrics_text(steps=20, sources=("general", "clinical"), start=1):
    rows = []
    for step in range(start, start + steps):
        row = {"schema_version": 1, "step": step, "tokens": 1024 * step, "loss": 3 / step} | {f"loss/{s}": 2 / step for s in sources}
        rows.append(json.dumps(row | {"mfu": None}))
        if step % 10 == 0:
            rows.append(json.dumps({"step": step, "tokens": 1024 * step} | {f"valid/{s}": 2.5 / step for s in sources}))
    return "\n".join(rows) + "\n"


def script(name, *arguments):
    return subprocess.run([sys.executable, ANALYSIS / name, *map(str, arguments)], capture_output=True, text=True, timeout=120)


@pytest.fixture
def evaluation(tmp_path):
    def build(name="base", rows=(ROW,), header=HEADER, accs=(1, 0, 0, 1)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "scores.csv").write_text("\n".join([header, *rows]) + "\n")
        (folder / "samples_exam.jsonl").write_text("".join(json.dumps({"doc_id": i, "acc": acc, "acc_norm": acc}) + "\n" for i, acc in enumerate(accs)))
        return folder
    return build


def test_read_metrics_splits_training_from_validation(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(metrics_text() + '{"step": 21, "tok')  # the last row is torn: still being written
    training, validation = read_tables.read_metrics(path)
    assert list(training["step"]) == list(range(1, 21))
    assert list(validation["step"]) == [10, 20]
    assert read_tables.sources_of(training) == ["general", "clinical"]
    assert validation["valid/clinical"].iloc[1] == 0.125


@pytest.mark.parametrize("text, complaint", [
    ("", "no rows"),
    ("\n\n", "no rows"),
    ('{"step": 1, "tokens": 8, "loss": 1}\nnonsense\n', ":2: not JSON"),
    ("[1]\n", ":1: not an object"),
    ('{"step": 1, "loss": 1}\n', ":1: tokens is missing"),
    ('{"step": -1, "tokens": 8, "loss": 1}\n', ":1: step is missing or not a count"),
    ('{"step": "1", "tokens": 8, "loss": 1}\n', ":1: step is missing or not a count"),
    ('{"step": 2, "tokens": 8, "loss": 1}\n{"step": 2, "tokens": 8, "loss": 1}\n', ":2: step 2 comes after step 2"),
    ('{"step": 1, "tokens": 8, "valid/a": 1}\n', "no row holds a training loss"),
    ('{"schema_version": 9, "step": 1, "tokens": 8, "loss": 1}\n', "schema version 9 is unknown"),
    ('{"step": 1, "tokens": 8, "loss": 1}\n{"schema_version": 2, "step": 2, "tokens": 16, "loss": 1}\n', ":2: schema version 2 is unknown"),
    ('{"schema_version": null, "step": 1, "tokens": 8, "loss": 1}\n', "schema version None is unknown"),
])
def test_malformed_metrics(tmp_path, text, complaint):
    path = tmp_path / "metrics.jsonl"
    path.write_text(text)
    with pytest.raises(TableError, match=complaint) as error:
        read_tables.read_metrics(path)
    assert str(path) in str(error.value)


def test_missing_and_binary_files(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "absent", tmp_path / "binary"):
        with pytest.raises(TableError, match=path.name):
            read_tables.read_metrics(path)


@pytest.mark.parametrize("header, rows, complaint", [
    (HEADER, [], "no rows"),
    (HEADER.replace(",stderr", ""), [ROW.replace(",0.288675134594813", "")], "columns missing: stderr"),
    (HEADER.replace("schema_version,", ""), [ROW[2:]], "columns missing: schema_version"),
    (HEADER, ["2" + ROW[1:]], "schema version 2 is unknown"),
    (HEADER, [ROW.replace(",0.5,", ",0.9,")], "row 1 is inconsistent"),
    (HEADER, [ROW.replace(",0.5,", ",,")], "row 1 is inconsistent"),
    (HEADER, [ROW.replace(",0.5,", ",half,")], "column value"),
    (HEADER, [ROW.replace(",4,0,", ",0,0,")], "row 1 is inconsistent"),
    (HEADER, [ROW, ROW], "row 2 repeats"),
])
def test_malformed_scores(evaluation, header, rows, complaint):
    folder = evaluation(header=header, rows=rows)
    with pytest.raises(TableError, match=complaint):
        read_tables.read_scores(folder / "scores.csv")


def test_scores_hdf5_equals_csv(evaluation, tmp_path):
    frame = read_tables.read_scores(evaluation() / "scores.csv")
    with h5py.File(tmp_path / "scores.h5", "w") as file:
        file.attrs.update({"format": "osler-scores", "schema_version": 1, "num_rows": 1, "columns": HEADER})
        for column in HEADER.split(","):
            values = frame[column].tolist()
            file[column] = json.dumps(values) if isinstance(values[0], str) else numpy.array(values)
    assert read_tables.read_scores(tmp_path / "scores.h5").to_dict() == frame.to_dict()
    with h5py.File(tmp_path / "scores.h5", "a") as file:
        file.attrs["schema_version"] = 2
    with pytest.raises(TableError, match="schema version"):
        read_tables.read_scores(tmp_path / "scores.h5")
    (tmp_path / "scores.h5").write_bytes(b"not HDF5")
    with pytest.raises(TableError, match="scores.h5"):
        read_tables.read_scores(tmp_path / "scores.h5")


def test_means_are_recomputed_from_rows(evaluation):
    folder = evaluation()
    mean, error, n = read_tables.recompute(folder / "samples_exam.jsonl", "acc")
    assert (mean, n) == (0.5, 4)
    assert math.isclose(error, math.sqrt(1 / 3 / 4))
    read_tables.read_evaluation(folder)
    for name, accs in {"other_mean": (1, 0, 0, 0), "other_count": (1, 0)}.items():
        with pytest.raises(TableError, match="but samples_exam.jsonl gives"):
            read_tables.read_evaluation(evaluation(name, accs=accs))
    with pytest.raises(TableError, match="samples_exam.jsonl:2: acc is missing or not in"):
        read_tables.read_evaluation(evaluation("broken", accs=(1, 7, 0, 1)))


def test_table(evaluation, tmp_path):
    base = evaluation()
    continued = evaluation("continued", rows=[ROW.replace("runs/base", "runs/with_text").replace(",2048,", ",3000000,")])
    result = script("table_accuracy.py", "--output", tmp_path / "out" / "accuracy", base, continued)
    assert result.returncode == 0, result.stderr
    markdown = (tmp_path / "out" / "accuracy.md").read_text()
    assert result.stdout == markdown
    assert "50.0 ± 28.9" in markdown and "15.0 to 85.0" in markdown and "3 M" in markdown
    latex = (tmp_path / "out" / "accuracy.tex").read_text()
    assert r"with\_text" in latex and r"50.0 $\pm$ 28.9" in latex and latex.count(r"\\") == 3
    assert len((tmp_path / "out" / "accuracy.csv").read_text().splitlines()) == 3


def test_table_refuses_doubled_and_empty(evaluation, tmp_path):
    first, second = evaluation(), evaluation("again")
    doubled = script("table_accuracy.py", "--output", tmp_path / "t", first, second)
    assert doubled.returncode == 3 and "two of the folders" in doubled.stderr
    none = script("table_accuracy.py", "--output", tmp_path / "t", "--metric", "f1", first)
    assert none.returncode == 3 and "f1" in none.stderr
    assert not (tmp_path / "t.md").exists()


def test_figure(tmp_path):
    (tmp_path / "base.jsonl").write_text(metrics_text(sources=("general",)))
    (tmp_path / "continued.jsonl").write_text(metrics_text())
    arguments = [f"base={tmp_path}/base.jsonl", f"continued={tmp_path}/continued.jsonl", "--chain"]
    for name in ("one", "two"):
        result = script("figure1_training_loss.py", *arguments, "--output", tmp_path / "figures" / name)
        assert result.returncode == 0, result.stderr
    png = (tmp_path / "figures" / "one.png").read_bytes()
    assert png.startswith(b"\x89PNG") and len(png) > 10_000
    assert (tmp_path / "figures" / "one.pdf").read_bytes().startswith(b"%PDF")
    for suffix in ("png", "pdf"):
        assert (tmp_path / "figures" / f"one.{suffix}").read_bytes() == (tmp_path / "figures" / f"two.{suffix}").read_bytes()


def test_figure_refuses_unknown_subset(tmp_path):
    (tmp_path / "base.jsonl").write_text(metrics_text(sources=("general",)))
    result = script("figure1_training_loss.py", f"base={tmp_path}/base.jsonl", "--output", tmp_path / "f")
    assert result.returncode == 3
    assert "'clinical'" in result.stderr and "general" in result.stderr
    assert script("figure1_training_loss.py", "nopath", "--output", tmp_path / "f").returncode == 2
