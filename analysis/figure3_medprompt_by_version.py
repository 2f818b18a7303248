#!/usr/bin/env python3
"""Figure 3: accuracy with MedPrompt over the versions base, + CPT, + fine-tuning, + NEFTune, other ways of asking beside it.

    python analysis/figure3_medprompt_by_version.py --output out/figure3 [NAME=]STUDY_FOLDER [...]

CPT is taken at the largest t that was asked; with 95 % intervals; one panel for each model (NAME).
"""

import argparse
import sys

from drawing import COLOURS, MARKERS, error_bars, legend_below, look, math_name, panels, save
from read_tables import TableError
from study_tree import collect, named_tree
from versions import method_rank, version_of

_MEDPROMPT = "MedPrompt"


def ladder(versions):
    """[(step, version)] from the base to the last technique: least t, largest t, and what was made of the latter."""
    if not versions:
        return []
    plain = [version for version in versions if not version.fine_tuned and not version.alpha]
    largest = max(version.tokens for version in versions)
    steps = []
    if plain:
        steps.append(("base", min(plain)))
        if max(plain) != min(plain) and max(plain).tokens == largest:
            steps.append(("+ CPT", max(plain)))
    steps += [("+ NEFTune" if version.alpha else "+ fine-tuning", version) for version in sorted(versions) if version.tokens == largest and version.fine_tuned]
    return steps


def accuracy_by_version(study, task, metric="acc"):
    """What is drawn: {series: (steps of the ladder, {method: rows})}, rows with columns step, version, value, ci_low, ci_high, n."""
    table = study.rows(metric=metric, task=task)
    drawn = {}
    for series in study.series:
        steps = ladder(study.versions(series=series, task=task))
        if not steps or table.empty:
            continue
        index = {version: number for number, (_, version) in enumerate(steps)}
        rows = table[table["series"] == series]
        rows = rows.assign(step=[index.get(version_of(row), -1) for _, row in rows.iterrows()])
        rows = rows[rows["step"] >= 0]
        methods = sorted(rows["method"].unique(), key=method_rank)
        drawn[series] = (steps, {method: rows[rows["method"] == method].sort_values("step")[["step", "version", "value", "ci_low", "ci_high", "n"]]
                                 .reset_index(drop=True) for method in methods})
    return drawn


def plot(drawn, task):
    """The figure of what accuracy_by_version gives."""
    methods = sorted({method for _, by_method in drawn.values() for method in by_method}, key=method_rank)
    most = max(len(steps) for steps, _ in drawn.values())
    figure, axes = panels(len(drawn), sharey=True, width=max(5.0, 1.25 * most + 1.2), height=4.2)
    for axis, (series, (steps, by_method)) in zip(axes, drawn.items()):
        for method, rows in by_method.items():
            index = methods.index(method)
            shift = (index - (len(methods) - 1) / 2) * 0.7 / max(len(methods), 3)
            axis.errorbar(rows["step"] + shift, 100 * rows["value"], yerr=error_bars(rows), linestyle="none",
                          color=COLOURS[index % 7], marker=MARKERS[index % 7], markersize=8 if method == _MEDPROMPT else 5, elinewidth=1.2, capsize=2.5,
                          label=method)
        for boundary in range(1, len(steps)):
            axis.axvline(boundary - 0.5, color="0.9", linewidth=0.8)
        axis.set_xticks(range(len(steps)), [f"{step}\n{math_name(version.name)}" for step, version in steps], fontsize=8)
        axis.set_xlim(-0.5, len(steps) - 0.5)
        axis.set_title(f"{series}: {task}" if series else f"{task}")
        axis.grid(axis="y", color="0.92")
    axes[0].set_ylabel("accuracy (%)")
    legend_below(figure, axes)
    return figure


def draw(drawn, task, output):
    """Writes OUTPUT.png and OUTPUT.pdf and returns their paths."""
    with look():
        return save(plot(drawn, task), output)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="+", type=named_tree, metavar="[NAME=]FOLDER", help="folders with evaluations, searched whole")
    parser.add_argument("--output", required=True, help="path without suffix; .png and .pdf are added")
    parser.add_argument("--task", help="task or group (default: MedQA, else the first)")
    options = parser.parse_args(arguments)
    try:
        study = collect(options.trees)
        task = options.task or study.main_task()
        drawn = accuracy_by_version(study, task)
        if not drawn:
            raise TableError(f"no accuracy on {task}; asked were {', '.join(study.tasks()) or 'no tasks'}")
        for path in draw(drawn, task, options.output):
            print(path)
    except TableError as error:
        print(f"figure3_medprompt_by_version.py: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
