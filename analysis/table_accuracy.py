#!/usr/bin/env python3
"""Accuracies with standard errors and 95 % intervals, as Markdown, CSV and LaTeX.

    python analysis/table_accuracy.py --output out/accuracy EVALUATION_FOLDER [...]

One row for each evaluation, task and metric. The wide form, one row for each version and way of asking and one column for each
task, is part of what analysis/study.py makes of a whole study.
"""

import argparse
import pathlib
import sys

import pandas

from read_tables import TableError, key_columns, read_evaluation
from versions import method_of, method_rank, short_tokens, version_of
from write_tables import percent, to_latex, to_markdown, write_all

SHOWN = ["model", "version", "tokens seen", "task", "subset", "strategy", "metric", "accuracy (%)", "95 % interval", "n", "unparsed"]


def build_rows(folders, metrics):
    """All scores in one table, in the order of the folders; the same key in two folders is refused."""
    frames = []
    for folder in folders:
        frames.append(read_evaluation(folder))
    table = pandas.concat(frames, ignore_index=True)
    doubled = table[table.duplicated(key_columns(table))]
    if len(doubled):
        row = doubled.iloc[0]
        raise TableError(f"two of the folders hold a score of {row['model']} on {row['task']} ({row['metric']}, {row['strategy']})")
    table = table[table["metric"].isin(metrics)].reset_index(drop=True)
    if table.empty:
        raise TableError(f"none of the folders holds a score of {', '.join(metrics)}")
    return table


def shown_rows(table):
    shown = []
    for _, row in table.iterrows():
        error = "" if pandas.isna(row["stderr"]) else f" ± {100 * row['stderr']:.1f}"
        subset = "all" if pandas.isna(row["subset"]) else row["subset"]
        shown.append([pathlib.PurePath(str(row["model"])).name, version_of(row).name, short_tokens(row["tokens_seen"], " "), row["task"], subset,
                      method_of(row), row["metric"], f"{100 * row['value']:.1f}{error}", f"{100 * row['ci_low']:.1f} to {100 * row['ci_high']:.1f}",
                      f"{int(row['n'])}", f"{int(row['unparsed'])}"])
    return shown


def _wide(study, cell, subset="all", ablation="", tasks=None):
    """(header, rows): a row for each model, version and way of asking, a column for each task; `cell` makes a text of a score row."""
    table = study.rows(subset=subset, ablation=ablation)
    if table.empty:
        return [], []
    tasks = [task for task in study.tasks() if task in set(table["task"])] if tasks is None else tasks
    lines = {}
    for _, row in table.iterrows():
        key = (row["series"], version_of(row), method_rank(row["method"]), row["ablation"])
        lines.setdefault(key, {})[row["task"]] = cell(row)
    with_series = len(study.series) > 1
    header = (["model"] if with_series else []) + ["version", "asked"] + tasks
    rows = []
    for (series, version, (*_, method), part), cells in sorted(lines.items()):
        asked = method + (f" {part}" if part else "")
        rows.append(([series] if with_series else []) + [version.name, asked, *(cells.get(task, "–") for task in tasks)])
    return header, rows


def results_table(study):
    """Accuracy in percent with its 95 % interval."""
    return _wide(study, lambda row: f"{percent(row['value'])} [{percent(row['ci_low'])}, {percent(row['ci_high'])}]")


def unparsed_table(study):
    """Answers that could not be read, of how many; a row for each way of asking that left any."""
    header, rows = _wide(study, lambda row: f"{int(row['unparsed'])} of {int(row['n'])}", ablation=None)
    first_task = header.index("asked") + 1 if header else 0
    return header, [row for row in rows if any(not cell.startswith(("0 of", "–")) for cell in row[first_task:])]


def overlap_table(study):
    """Accuracy on the items that overlap with the training text (touched) and on the others (clean), where they were told apart."""
    shown = lambda row: f"{percent(row['value'])} [{percent(row['ci_low'])}, {percent(row['ci_high'])}] n {int(row['n'])}"
    known = set(study.scores["task"][study.scores["subset"].isin(["clean", "touched"])]) if len(study.scores) else set()
    tasks = [task for task in study.tasks() if task in known]
    header, rows = [], []
    for subset in ("clean", "touched"):
        columns, of_subset = _wide(study, shown, subset=subset, ablation=None, tasks=tasks)
        header = header or (["items", *columns] if of_subset else [])
        rows += [[subset, *row] for row in of_subset]
    return header, rows


def ablation_table(study):
    """MedPrompt whole and without one of its parts; empty where no part was taken away."""
    if study.scores.empty or not study.scores["ablation"].any():
        return [], []
    header, rows = _wide(study, lambda row: f"{percent(row['value'])} [{percent(row['ci_low'])}, {percent(row['ci_high'])}]", ablation=None)
    return header, [row for row in rows if any(cell.startswith("MedPrompt") for cell in row[:3])]


def write(study, output):
    """The wide table of a study as OUTPUT.md and .tex; OUTPUT.csv holds every score row whole."""
    header, rows = results_table(study)
    return write_all(output, header, rows, study.scores.to_dict("records"), columns="l" * len(header))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="evaluation folders (with scores.csv; means are recomputed from samples_*.jsonl beside it)")
    parser.add_argument("--output", required=True, help="path without suffix; .md, .csv and .tex are added")
    parser.add_argument("--metric", action="append", help="metric to show (repeats); default: acc and acc_norm")
    options = parser.parse_args(arguments)
    try:
        table = build_rows(options.folders, options.metric or ["acc", "acc_norm"])
    except TableError as error:
        print(f"table_accuracy.py: {error}", file=sys.stderr)
        return 3
    rows = shown_rows(table)
    pathlib.Path(options.output).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(f"{options.output}.md").write_text(to_markdown(SHOWN, rows), encoding="utf-8")
    pathlib.Path(f"{options.output}.tex").write_text(to_latex(SHOWN, rows, "llrllllrrrr"), encoding="utf-8")
    table.to_csv(f"{options.output}.csv", index=False)
    print(to_markdown(SHOWN, rows), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
