#!/usr/bin/env python3
"""Makes every figure and table of a study, and one page that shows them, from folders of runs and evaluations.

    python analysis/study.py --output out [NAME=]FOLDER [...]

Each FOLDER is searched whole for runs (metrics.jsonl) and evaluations (scores.csv, samples_*.jsonl, results.json); NAME tells
models apart where a study has several. What a study that is still running lacks is listed and left out; a file that cannot be
used ends the command with code 3. Written to the output folder:

    figure1_training_loss, figure2_accuracy_by_tokens, figure3_medprompt_by_version      .png .pdf
    table_setup, table_results, table_contribution                                       .md .tex .csv
    index.html                                                                           all of it, with provenance

A base model that was pretrained here counts its own tokens, which are none of continued pretraining: name its folder with --base.
--show-prompts adds figure4_zero_shot_prompt and figure5_cot_prompt, which show benchmark text.
"""

import argparse
import pathlib
import sys

import figure1_training_loss
import figure2_accuracy_by_tokens
import figure3_medprompt_by_version
import figure4_zero_shot_prompt
import figure5_cot_prompt
import significance
import study_page
import table_accuracy
import table_contribution
import table_setup
from read_tables import TableError, read_scores, sources_of
from study_tree import collect, named_tree


def loss_figure(study, output):
    """Figure 1 over all runs with a loss on the general or clinical subset; [] where there is none."""
    known = {source for run in study.runs for source in sources_of(run.training)}
    subsets = [subset for subset in ("general", "clinical") if subset in known]
    runs = [run for run in study.runs if set(sources_of(run.training)) & set(subsets)]
    if not runs:
        study.missing.append("figure 1: no run has a training loss on a source called general or clinical")
        return []
    if len(subsets) == 1:
        study.missing.append(f"figure 1: no run has a training loss on the {({'general', 'clinical'} - set(subsets)).pop()} subset")
    named = [(f"{run.series}: {run.name}" if run.series else run.name, run.training, run.validation) for run in runs]
    return figure1_training_loss.draw(named, subsets, output / "figure1_training_loss", chain=False, window=9)


def tokens_figure(study, task, output):
    method = figure2_accuracy_by_tokens.default_method(study, task)
    lines = figure2_accuracy_by_tokens.accuracy_by_tokens(study, task, method)
    if not lines:
        study.missing.append("figure 2: no evaluation")
        return []
    if all(rows["tokens_seen"].nunique() < 2 for of_series in lines.values() for rows in of_series.values()):
        study.missing.append("figure 2: evaluations at one t only")
    return figure2_accuracy_by_tokens.draw(lines, task, method, output / "figure2_accuracy_by_tokens")


def versions_figure(study, task, output):
    drawn = figure3_medprompt_by_version.accuracy_by_version(study, task)
    if not drawn:
        study.missing.append("figure 3: no evaluation")
        return []
    for series, (steps, by_method) in drawn.items():
        there = set(by_method["MedPrompt"]["step"]) if "MedPrompt" in by_method else set()
        lacking = [version.name for number, (_, version) in enumerate(steps) if number not in there]
        if lacking:
            study.missing.append(f"figure 3{f' ({series})' if series else ''}: not asked with MedPrompt: {', '.join(lacking)}")
    return figure3_medprompt_by_version.draw(drawn, task, output / "figure3_medprompt_by_version")


def prompt_figures(study, task, item, output):
    """[(paths, caption)] of figures 4 and 5, from the first evaluation of their strategy."""
    drawn = []
    for number, module, name in ((4, figure4_zero_shot_prompt, "zero_shot"), (5, figure5_cot_prompt, "cot")):
        fitting = []
        for strategy in module.STRATEGIES:
            fitting += [e for e in study.evaluations if len(e.tasks.get(task, [])) == 1 and
                        str(read_scores(e.folder / "scores.csv")["strategy"].iloc[0]) == strategy]
        if not fitting:
            study.missing.append(f"figure {number}: {task} was not asked by {' or '.join(module.STRATEGIES)}")
            continue
        paths = module.make(fitting[0].folder, task, item, output / f"figure{number}_{name}_prompt")
        drawn.append((paths, f"Figure {number}: {fitting[0].version.name}, {fitting[0].method}"))
    return drawn


def make_study(named_trees, output, bases=(), task=None, correction="holm", show_prompts=False, item=0, title="Study"):
    """Writes everything; returns (paths, what is missing)."""
    study = collect(named_trees, bases)
    if not study.evaluations and not study.runs:
        raise TableError("no run and no evaluation was found under " + ", ".join(str(tree) for _, tree in named_trees) + "".join(f"; {line}" for line in study.missing))
    output = pathlib.Path(output)
    output.mkdir(parents=True, exist_ok=True)
    task = task or study.main_task()
    if study.evaluations and not study.of(task=task, ablation=None):
        raise TableError(f"no evaluation of {task}; asked were {', '.join(study.tasks())}")
    images = [(loss_figure(study, output), "Figure 1: training loss against tokens; circles: held-out text"),
              (tokens_figure(study, task, output), "Figure 2: accuracy against tokens of continued pretraining, 95 % Wilson intervals"),
              (versions_figure(study, task, output), "Figure 3: accuracy by version and way of asking, 95 % Wilson intervals")]
    if show_prompts and task:
        images += prompt_figures(study, task, item, output)
    paths, tables = [path for drawn, _ in images for path in drawn], []

    def add(heading, name, header, rows, write, note=""):
        if not rows:
            return
        if write:
            write(output / name)
            paths.extend(output / f"{name}.{suffix}" for suffix in ("md", "tex", "csv"))
        tables.append((heading, [study_page.table_html(header, rows)] + ([study_page.note_html(note)] if note else [])))

    records = table_contribution.contributions(study, correction=correction)
    if not records:
        study.missing.append("table of contributions: no two evaluations differ by one technique")
    add("What each technique gives", "table_contribution", *table_contribution.shown_rows(records),
        lambda path: table_contribution.write(records, path, correction), table_contribution.note(correction))
    add("Results by task and version", "table_results", *table_accuracy.results_table(study), lambda path: table_accuracy.write(study, path),
        "Accuracy in percent with its 95 % Wilson interval.")
    add("MedPrompt without its parts", "", *table_accuracy.ablation_table(study), None)
    add("Items that overlap with the training text", "", *table_accuracy.overlap_table(study), None)
    add("Answers that could not be read", "", *table_accuracy.unparsed_table(study), None, "Counted as wrong.")
    if study.runs:
        add("Set-up", "table_setup", *table_setup.setup_table(study), lambda path: table_setup.write(study, path))
    figures = ("Figures", [study_page.figure_html(drawn[0], caption) for drawn, caption in images if drawn])
    provenance = ("Provenance", [study_page.table_html(*study_page.provenance_table(study))] if study.evaluations else [])
    missing = ("Not there yet", [study_page.list_html(study.missing)] if study.missing else [])
    paths.append(study_page.write_page(output / "index.html", title, [figures, *tables, missing, provenance]))
    return paths, study.missing


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="+", type=named_tree, metavar="[NAME=]FOLDER", help="folders of runs and evaluations, searched whole")
    parser.add_argument("--output", required=True, help="folder to write to")
    parser.add_argument("--base", action="append", default=[], metavar="FOLDER",
                        help="evaluations under it are of the model before continued pretraining: t = 0 (repeats)")
    parser.add_argument("--task", help="task or group of figures 2 to 5 (default: MedQA, else the first)")
    parser.add_argument("--correction", choices=sorted(significance.CORRECTIONS), default="holm", help="of p values, over the table of contributions")
    parser.add_argument("--title", default="Study", help="of the page")
    parser.add_argument("--show-prompts", action="store_true", help="draw figures 4 and 5: they show benchmark text")
    parser.add_argument("--item", type=int, default=0, help="doc_id of the question in figures 4 and 5 (default 0)")
    options = parser.parse_args(arguments)
    try:
        paths, missing = make_study(options.trees, options.output, options.base, options.task, options.correction, options.show_prompts, options.item, options.title)
    except TableError as error:
        print(f"study.py: {error}", file=sys.stderr)
        return 3
    for line in missing:
        print(f"study.py: {line}", file=sys.stderr)
    for path in paths:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
