#!/usr/bin/env python3
"""Accuracies of several evaluations with standard errors and 95 % intervals, as Markdown, CSV and LaTeX."""

import argparse
import pathlib
import sys

import pandas

from read_tables import TableError, key_columns, read_evaluation
from write_tables import to_latex, to_markdown

SHOWN = ["model", "tokens seen", "task", "strategy", "metric", "accuracy (%)", "95 % interval", "n", "unparsed"]


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


def _short_tokens(tokens):
    if pandas.isna(tokens) or tokens == "":
        return ""
    tokens = float(tokens)
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if tokens >= size:
            return f"{tokens / size:.3g} {letter}"
    return f"{tokens:.0f}"


def shown_rows(table):
    shown = []
    for _, row in table.iterrows():
        error = "" if pandas.isna(row["stderr"]) else f" ± {100 * row['stderr']:.1f}"
        shown.append([pathlib.PurePath(str(row["model"])).name, _short_tokens(row["tokens_seen"]), row["task"], row["strategy"], row["metric"],
                      f"{100 * row['value']:.1f}{error}", f"{100 * row['ci_low']:.1f} to {100 * row['ci_high']:.1f}", f"{int(row['n'])}",
                      f"{int(row['unparsed'])}"])
    return shown


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
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
    pathlib.Path(f"{options.output}.tex").write_text(to_latex(SHOWN, rows, "lrlllrrrr"), encoding="utf-8")
    table.to_csv(f"{options.output}.csv", index=False)
    print(to_markdown(SHOWN, rows), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
