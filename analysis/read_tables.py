"""Reads what the program writes: metrics.jsonl, scores.csv, scores.h5, results.json and samples files.

Strict: an unknown schema version, a missing column, a broken row are refused with file and line, because a figure drawn
from half-understood rows is worse than none. Means are recomputed from rows, never taken on trust.
"""

import json
import math
import pathlib

import h5py
import pandas

SCHEMA_VERSIONS = {1}
KEY_COLUMNS = ["model", "tokens_seen", "fine_tuned", "neftune_alpha", "task", "subset", "strategy", "scoring", "shots", "metric"]
NUMBER_COLUMNS = ["value", "stderr", "ci_low", "ci_high", "n", "unparsed"]
# Columns that only some evaluations have and that tell rows apart: how the answer was read, what MedPrompt went without.
OPTIONAL_KEYS = ["answer", "ablation"]
SCORE_COLUMNS = ["schema_version"] + KEY_COLUMNS + NUMBER_COLUMNS + ["seed", "config_hash"]


class TableError(Exception):
    """A file that cannot be used; the message names it and what to do."""


def _check_version(value, where):
    try:
        version = int(value)
    except (TypeError, ValueError):
        version = value
    if version not in SCHEMA_VERSIONS:
        raise TableError(f"{where}: schema version {version} is unknown here (known: {sorted(SCHEMA_VERSIONS)}); use the analysis/ of the program that wrote it")


def _read_json_rows(path):
    path = pathlib.Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: {error}") from error
    lines = text.split("\n")
    if lines[-1]:
        lines.pop()  # a row without its line break is still being written
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise TableError(f"{path}:{number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise TableError(f"{path}:{number}: not an object")
        rows.append((number, row))
    if not rows:
        raise TableError(f"{path}: no rows")
    return rows


def read_metrics(path):
    """(training, validation): one row per logged step, columns as in the file; `loss/<source>` and `valid/<set>` hold nats per token."""
    training, validation = [], []
    last_step = {"training": -1, "validation": -1}
    for number, row in _read_json_rows(path):
        where = f"{path}:{number}"
        _check_version(row.get("schema_version", 1), where)  # the first rows of version 1 did not say so
        for key in ("step", "tokens"):
            if not isinstance(row.get(key), int) or row[key] < 0:
                raise TableError(f"{where}: {key} is missing or not a count")
        kind = "training" if "loss" in row else "validation"
        if kind == "validation" and not any(key.startswith("valid/") for key in row):
            continue  # a row of another kind, such as a note on a resume
        if row["step"] <= last_step[kind]:
            raise TableError(f"{where}: step {row['step']} comes after step {last_step[kind]}; two runs wrote into one file?")
        last_step[kind] = row["step"]
        (training if kind == "training" else validation).append(row)
    if not training:
        raise TableError(f"{path}: no row holds a training loss")
    return pandas.DataFrame(training), pandas.DataFrame(validation)


def sources_of(training):
    """Names of the sources with a loss of their own, in the file's order."""
    return [column.removeprefix("loss/") for column in training.columns if column.startswith("loss/")]


def key_columns(frame):
    """The columns that name a row of a score table; others that it may have say more about it."""
    return KEY_COLUMNS + [column for column in OPTIONAL_KEYS if column in frame]


def _checked_scores(frame, path):
    for version in frame.get("schema_version", pandas.Series(dtype=int)).unique():
        _check_version(version, path)
    missing = [column for column in SCORE_COLUMNS if column not in frame]
    if missing:
        raise TableError(f"{path}: columns missing: {', '.join(missing)}")
    if frame.empty:
        raise TableError(f"{path}: no rows")
    for column in NUMBER_COLUMNS:
        try:
            frame[column] = pandas.to_numeric(frame[column])
        except (ValueError, TypeError) as error:
            raise TableError(f"{path}: column {column}: {error}") from error
    wrong = frame[(frame["value"] < frame["ci_low"] - 1e-9) | (frame["value"] > frame["ci_high"] + 1e-9) | (frame["n"] < 1) | frame["value"].isna()]
    if len(wrong):
        raise TableError(f"{path}: row {wrong.index[0] + 1} is inconsistent: value outside its interval, or no items")
    doubled = frame[frame.duplicated(key_columns(frame))]
    if len(doubled):
        raise TableError(f"{path}: row {doubled.index[0] + 1} repeats the key of an earlier one")
    return frame


def read_scores(path):
    """The table of one evaluation, from scores.csv or scores.h5; the columns are SCORE_COLUMNS and possibly more."""
    path = pathlib.Path(path)
    if path.suffix == ".h5":
        return _checked_scores(_read_scores_h5(path), path)
    try:
        frame = pandas.read_csv(path, keep_default_na=False, na_values=[""], dtype={"config_hash": str, "model": str, "subset": str})
    except (OSError, ValueError, pandas.errors.ParserError) as error:
        raise TableError(f"{path}: {error}") from error
    return _checked_scores(frame, path)


def _read_scores_h5(path):
    try:
        with h5py.File(path, "r") as file:
            _check_version(file.attrs.get("schema_version"), path)
            columns = {}
            names = file.attrs["columns"]  # a string of fixed length reads as bytes
            for name in (names.decode() if isinstance(names, bytes) else names).split(","):
                values = file[name][()]
                columns[name] = json.loads(values) if isinstance(values, bytes) else values  # text columns are JSON lists
    except (OSError, KeyError, ValueError) as error:
        raise TableError(f"{path}: {error}") from error
    return pandas.DataFrame(columns)


def _subject_of(row):
    doc = row.get("doc") if isinstance(row.get("doc"), dict) else {}
    subject = doc.get("subject", doc.get("subject_name"))
    return subject if isinstance(subject, str) else ""


def read_samples(path, metric):
    """One row per item, by number: doc_id, doc_hash (None in files without), subject ("" where none), value in [0, 1]."""
    rows, seen = [], set()
    for number, row in _read_json_rows(path):
        value = row.get(metric)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise TableError(f"{path}:{number}: {metric} is missing or not in [0, 1]")
        if not isinstance(row.get("doc_id"), int) or row["doc_id"] in seen:
            raise TableError(f"{path}:{number}: doc_id is missing or stands twice")
        seen.add(row["doc_id"])
        rows.append((row["doc_id"], row.get("doc_hash"), _subject_of(row), float(value)))
    return pandas.DataFrame(sorted(rows), columns=["doc_id", "doc_hash", "subject", "value"])


def read_sample_row(path, doc_id):
    """The samples row of one item as it was written."""
    for _, row in _read_json_rows(path):
        if row.get("doc_id") == doc_id:
            return row
    raise TableError(f"{path}: no item {doc_id}")


def read_results(path):
    """results.json whole; what Osler adds to lm-eval's shape is under `osler`."""
    try:
        results = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise TableError(f"{path}: {error}") from error
    if not isinstance(results, dict) or not isinstance(results.get("osler"), dict):
        raise TableError(f"{path}: not a results file of osler evaluate")
    _check_version(results["osler"].get("schema_version"), path)
    return results


def _mean_and_error(values):
    n = len(values)
    if n == 0:
        return float("nan"), float("nan"), 0
    mean = math.fsum(values) / n
    if n == 1:
        return mean, float("nan"), 1
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n), n


def recompute(samples_path, metric):
    """(mean, standard error, n) of a metric over the rows of a samples file."""
    return _mean_and_error(read_samples(samples_path, metric)["value"].tolist())


def read_evaluation(folder):
    """The scores of an evaluation folder, each value checked against the samples files where the rows can be told.

    Rows of subset `all` and `subject:NAME` are checked, of a group `acc` over the items of all its members (members are in
    results.json). Which items are clean or touched is not in the samples.
    """
    folder = pathlib.Path(folder)
    scores = read_scores(folder / "scores.csv")
    results = folder / "results.json"
    groups = read_results(results).get("group_subtasks", {}) if results.exists() else {}
    items = {}
    for _, row in scores.iterrows():
        subset = row["subset"] if isinstance(row["subset"], str) and row["subset"] else "all"
        if row["metric"] not in ("acc", "acc_norm") or (subset != "all" and not subset.startswith("subject:")):
            continue
        members = groups.get(row["task"]) or [row["task"]]
        paths = [folder / f"samples_{member}.jsonl" for member in members]
        if not all(path.exists() for path in paths) or (len(paths) > 1 and row["metric"] != "acc"):
            continue
        for path in paths:
            if (path, row["metric"]) not in items:
                items[path, row["metric"]] = read_samples(path, row["metric"])
        chosen = pandas.concat([items[path, row["metric"]] for path in paths])
        if subset != "all":
            chosen = chosen[chosen["subject"] == subset.removeprefix("subject:")]
        mean, error, n = _mean_and_error(chosen["value"].tolist())
        if n != row["n"] or not abs(mean - row["value"]) <= 1e-6:
            where = row["task"] if subset == "all" else f"{row['task']} ({subset})"
            raise TableError(f"{folder}/scores.csv says {where} {row['metric']} = {row['value']:.6f} (n {int(row['n'])}), but "
                             f"{', '.join(path.name for path in paths)} gives {mean:.6f} (n {n})")
    return scores
