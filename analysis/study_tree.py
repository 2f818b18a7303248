"""Finds the runs and evaluations of a study under one or more folders, and says what is not there yet.

A folder with scores.csv, samples_*.jsonl or results.json is an evaluation; one with metrics.jsonl is a run. An evaluation
without results.json is not complete (docs/formats.md) and is left out with a note; a malformed file is refused.
"""

import os
import pathlib
import typing

import pandas

from compare import tasks_of
from read_config import is_off, parse_config, read_config
from read_tables import TableError, key_columns, read_evaluation, read_metrics, read_results
from versions import Version, method_of, method_rank, version_of

# Switches of eval.* that take a part of MedPrompt away, and how the rows are called then.
_ABLATIONS = {"eval.medprompt_knn": "without kNN", "eval.medprompt_cot": "without CoT", "eval.medprompt_shuffle": "without shuffling"}


class Evaluation(typing.NamedTuple):
    series: str
    folder: pathlib.Path
    version: Version
    method: str
    ablation: str  # "" where MedPrompt is whole
    tasks: dict  # {task or group: [member tasks]}
    results: dict


class Run(typing.NamedTuple):
    series: str
    name: str
    folder: pathlib.Path
    training: pandas.DataFrame
    validation: pandas.DataFrame
    config: dict
    is_done: bool


class Study:
    """All that was found: evaluations, runs, one table of scores (`series`, `version`, `method`, `ablation`, `folder` added), notes."""

    def __init__(self):
        self.evaluations, self.runs, self.missing = [], [], []
        self.scores = pandas.DataFrame()

    @property
    def series(self):
        return list(dict.fromkeys([e.series for e in self.evaluations] + [r.series for r in self.runs]))

    def of(self, series=None, version=None, method=None, ablation="", task=None):
        """Evaluations that match; None matches all."""
        return [e for e in self.evaluations if (series is None or e.series == series) and (version is None or e.version == version) and
                (method is None or e.method == method) and (ablation is None or e.ablation == ablation) and (task is None or task in e.tasks)]

    def rows(self, metric="acc", subset="all", ablation="", task=None):
        """Rows of the score table; None matches all."""
        table = self.scores
        if table.empty:
            return table
        wanted = table["metric"] == metric
        for column, value in (("subset", subset), ("ablation", ablation), ("task", task)):
            if value is not None:
                wanted &= table[column] == value
        return table[wanted]

    def methods(self, **where):
        return sorted({e.method for e in self.of(**where)}, key=method_rank)

    def versions(self, **where):
        return sorted({e.version for e in self.of(**where)})

    def tasks(self):
        """Tasks and groups for a short table: MMLU's subjects stand behind their group where there is one."""
        known = list(dict.fromkeys(task for e in self.evaluations for task in e.tasks))
        grouped = {member for e in self.evaluations for task, members in e.tasks.items() if len(members) > 1 for member in members}
        return [task for task in known if not (task in grouped and task.startswith("mmlu_"))]

    def main_task(self):
        """MedQA where it was asked, as in the paper's figures; else the first task."""
        tasks = self.tasks()
        return next((task for task in tasks if task.startswith("medqa")), tasks[0] if tasks else None)


def _ablation_of(scores, config):
    if "ablation" in scores:
        stated = [str(value) for value in scores["ablation"].dropna().unique() if str(value) not in ("", "none", "full")]
        if len(stated) == 1:
            return stated[0]
        if stated:
            raise TableError(f"one evaluation has rows of several ablations: {', '.join(stated)}")
    if scores["strategy"].iloc[0] != "medprompt":
        return ""
    return ", ".join(name for key, name in _ABLATIONS.items() if is_off(config, key))


def _one_of(scores, column, folder):
    values = scores[column].unique()
    if len(values) != 1:
        raise TableError(f"{folder}/scores.csv: {column} differs between rows of one evaluation: {', '.join(map(str, values))}")
    return values[0]


def _read_evaluation(study, series, folder, is_base):
    if not (folder / "results.json").exists():
        study.missing.append(f"{folder}: evaluation not complete (no results.json)")
        return None
    if not (folder / "scores.csv").exists():
        study.missing.append(f"{folder}: no scores.csv beside results.json")
        return None
    results = read_results(folder / "results.json")
    scores = read_evaluation(folder)
    for column in ("model", "tokens_seen", "fine_tuned", "neftune_alpha", "strategy", "scoring", "seed"):
        _one_of(scores, column, folder)
    if is_base:
        scores = scores.assign(tokens_seen=0)
    config = parse_config(str(results["osler"].get("config", "")), folder / "results.json")
    first = scores.iloc[0]
    evaluation = Evaluation(series, folder, version_of(first), method_of(first), _ablation_of(scores, config), tasks_of(folder), results)
    study.evaluations.append(evaluation)
    return scores.assign(series=series, version=evaluation.version.name, method=evaluation.method, ablation=evaluation.ablation,
                         subset=scores["subset"].fillna("all"), folder=str(folder))


def _read_run(study, series, folder, tree):
    try:
        training, validation = read_metrics(folder / "metrics.jsonl")
    except TableError as error:
        if "no rows" not in str(error) and "no row holds" not in str(error):
            raise
        study.missing.append(f"{folder}: no training step logged yet")
        return
    config = read_config(folder / "config.ini") if (folder / "config.ini").exists() else {}
    if not config:
        study.missing.append(f"{folder}: no config.ini: its hyperparameters are unknown")
    is_done = (folder / "done").exists()
    if not is_done:
        study.missing.append(f"{folder}: training not finished (step {training['step'].iloc[-1]})")
    name = folder.name if folder == tree else str(folder.relative_to(tree))
    study.runs.append(Run(series, name, folder, training, validation, config, is_done))


def _tell_methods_apart(study):
    """Where one way of asking stands with several scorings or numbers of shots, its name says which."""
    for column, words in (("scoring", "{}"), ("shots", "{} shots")):
        several = study.scores.groupby("method")[column].nunique()
        several = set(several[several > 1].index)
        for number, evaluation in enumerate(study.evaluations):
            if evaluation.method in several:
                rows = study.scores["folder"] == str(evaluation.folder)
                name = f"{evaluation.method}, {words.format(study.scores.loc[rows, column].iloc[0])}"
                study.scores.loc[rows, "method"] = name
                study.evaluations[number] = evaluation._replace(method=name)


def _refuse_doubled(table):
    doubled = table[table.duplicated(["series", *[c for c in key_columns(table) if c != "model"], "version", "method"], keep=False)]
    if len(doubled):
        row = doubled.iloc[0]
        same = doubled[(doubled["version"] == row["version"]) & (doubled["task"] == row["task"])]["folder"].unique()
        raise TableError(f"{row['version']} was asked {row['task']} ({row['method']}) more than once: {', '.join(same[:2])}; give each model's folder a name "
                         "of its own (NAME=FOLDER), name the base with study.py --base, or leave one out")


def collect(named_trees, bases=()):
    """Study of [(series, folder)]; the series tells models apart and may be the same for several folders.

    Evaluations under the folders `bases` are of models before continued pretraining: their t is 0, however many tokens their
    own pretraining counted.
    """
    study, frames, seen = Study(), [], set()
    bases = [pathlib.Path(base).resolve() for base in bases]
    for base in bases:
        if not base.is_dir():
            raise TableError(f"{base}: no such folder")
    for series, tree in named_trees:
        tree = pathlib.Path(tree)
        if not tree.is_dir():
            raise TableError(f"{tree}: no such folder")
        for folder, subfolders, files in os.walk(tree):
            # What a checkpoint holds is never a result, and can be many files.
            subfolders[:] = sorted(name for name in subfolders if name != "checkpoints" and not name.startswith("."))
            folder = pathlib.Path(folder)
            if folder.resolve() in seen:
                continue
            seen.add(folder.resolve())
            if "scores.csv" in files or "results.json" in files or any(name.startswith("samples_") and name.endswith(".jsonl") for name in files):
                scores = _read_evaluation(study, series, folder, any(folder.resolve().is_relative_to(base) for base in bases))
                if scores is not None:
                    frames.append(scores)
            if "metrics.jsonl" in files:
                _read_run(study, series, folder, tree)
    if frames:
        study.scores = pandas.concat(frames, ignore_index=True)
        _tell_methods_apart(study)
        _refuse_doubled(study.scores)
    return study


def named_tree(text):
    """("" or NAME, folder) of [NAME=]FOLDER."""
    name, separator, path = text.partition("=")
    return (name, path) if separator and name and "/" not in name else ("", text)
