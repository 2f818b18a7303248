#!/usr/bin/env python3
"""Figure 2: accuracy against the tokens t of continued pretraining, for P^t, P^t+F and P^t+F+N(alpha), with 95 % intervals.

    python analysis/figure2_accuracy_by_tokens.py --output out/figure2 [NAME=]STUDY_FOLDER [...]

One panel for each model (NAME). Points stand at their t, moved sideways by little so that intervals do not cover each other.
"""

import argparse
import sys

from drawing import COLOURS, MARKERS, STYLES, error_bars, legend_below, look, math_name, panels, save, token_unit
from read_tables import TableError
from study_tree import collect, named_tree
from versions import method_rank, version_of

_DODGE = 0.012  # of the axis, between lines


def accuracy_by_tokens(study, task, method, metric="acc"):
    """What is drawn: {series: {line: rows}}, rows sorted by tokens with columns tokens_seen, value, ci_low, ci_high, n."""
    table = study.rows(metric=metric, task=task)
    lines = {}
    if len(table):
        table = table[table["method"] == method]
        families = [(version_of(row), i) for i, row in table.iterrows()]
        # Lines in the order P^t, P^t+F, P^t+F+N(alpha), alpha rising.
        for version, i in sorted(families, key=lambda pair: (pair[0].fine_tuned, pair[0].alpha, pair[0].tokens)):
            lines.setdefault(table.loc[i, "series"], {}).setdefault(version.family, []).append(i)
    return {series: {family: table.loc[rows, ["tokens_seen", "value", "ci_low", "ci_high", "n"]].reset_index(drop=True)
                     for family, rows in families.items()} for series, families in lines.items()}


def default_method(study, task):
    """The first way of asking (zero-shot where there is one) under which most values of t were asked."""
    counts = {}
    for evaluation in study.of(task=task):
        counts.setdefault(evaluation.method, set()).add((evaluation.series, evaluation.version))
    return min(counts, key=lambda method: (-len(counts[method]), method_rank(method)), default=None)


def plot(lines, task, method):
    """The figure of accuracy_by_tokens' lines."""
    families = list(dict.fromkeys(family for of_series in lines.values() for family in of_series))
    largest = max(rows["tokens_seen"].max() for of_series in lines.values() for rows in of_series.values())
    scale, unit = token_unit(largest)
    width = max(largest, 1) / scale
    figure, axes = panels(len(lines), sharey=True, width=5.4, height=4.0)
    for axis, (series, of_series) in zip(axes, lines.items()):
        for family, rows in of_series.items():
            index = families.index(family)
            shift = (index - (len(families) - 1) / 2) * _DODGE * width
            axis.errorbar(rows["tokens_seen"] / scale + shift, 100 * rows["value"], yerr=error_bars(rows), color=COLOURS[index % 7],
                          linestyle=STYLES[index % 4], marker=MARKERS[index % 7], markersize=5, linewidth=1.6, elinewidth=1, capsize=2.5,
                          label=math_name(family))
        axis.set_title(f"{series}: {task}" if series else f"{task}")
        axis.set_xlabel(f"tokens t of continued pretraining {unit}".strip())
        axis.grid(color="0.92")
    axes[0].set_ylabel(f"accuracy (%), {method}")
    legend_below(figure, axes)
    return figure


def draw(lines, task, method, output):
    """Writes OUTPUT.png and OUTPUT.pdf and returns their paths."""
    with look():
        return save(plot(lines, task, method), output)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="+", type=named_tree, metavar="[NAME=]FOLDER", help="folders with evaluations, searched whole")
    parser.add_argument("--output", required=True, help="path without suffix; .png and .pdf are added")
    parser.add_argument("--task", help="task or group (default: MedQA, else the first)")
    parser.add_argument("--method", help="as the tables call it: zero-shot, CoT, MedPrompt ... (default: the one with most versions)")
    options = parser.parse_args(arguments)
    try:
        study = collect(options.trees)
        task = options.task or study.main_task()
        method = options.method or default_method(study, task)
        lines = accuracy_by_tokens(study, task, method)
        if not lines:
            raise TableError(f"no accuracy on {task} ({method}); asked were {', '.join(study.tasks()) or 'no tasks'} ({', '.join(study.methods()) or 'in no way'})")
        for path in draw(lines, task, method, options.output):
            print(path)
    except TableError as error:
        print(f"figure2_accuracy_by_tokens.py: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
