#!/usr/bin/env python3
"""What each technique gives: paired differences with intervals and corrected p values.

    python analysis/table_contribution.py --output out/contribution [NAME=]STUDY_FOLDER [...]

Continued pretraining (CPT), fine-tuning and NEFTune are each compared with the version before them, asked the same way
(zero-shot where both were); CoT, self-consistency, few-shot and MedPrompt are compared with the simpler way of asking, on the
most complete version; MedPrompt also with itself less one part. Every task or group is a row of its own; p values are
corrected over all rows (Holm by default). Writes OUTPUT.md, OUTPUT.tex and OUTPUT.csv.
"""

import argparse
import itertools
import sys
import typing

import significance
from compare import LEVEL, compare_items, item_values, paired_items, with_corrections
from figure3_medprompt_by_version import ladder
from read_tables import TableError
from study_tree import collect, named_tree
from versions import method_rank
from write_tables import p_text, percent, signed_points, write_all

SHOWN = ["technique", "from", "to", "asked", "task", "n", "from (%)", "to (%)", "difference", "95 % interval", "p corrected", "reading"]
TECHNIQUES = {"+ CPT": "continued pretraining", "+ fine-tuning": "fine-tuning", "+ NEFTune": "NEFTune"}


class Step(typing.NamedTuple):
    """One technique: the evaluation without it and the one with it, and what both are called."""
    technique: str
    before: object
    after: object
    before_name: str
    after_name: str
    asked: str


def _shared_method(study, series, first, second):
    """The simplest way in which both versions were asked."""
    shared = set(study.methods(series=series, version=first)) & set(study.methods(series=series, version=second))
    return min(shared, key=method_rank, default=None)


def _training_steps(study, series):
    """CPT, fine-tuning, NEFTune: each on what it was applied to."""
    steps = ladder(study.versions(series=series))
    plain = [version for step, version in steps if step in ("base", "+ CPT")]
    tuned = [version for step, version in steps if step == "+ fine-tuning"]
    for step, version in steps:
        if step == "base":
            continue
        before = {"+ CPT": plain[:1], "+ fine-tuning": plain[-1:], "+ NEFTune": tuned[-1:] or plain[-1:]}[step]
        before = [other for other in before if other != version and (step == "+ CPT" or other.tokens == version.tokens)]
        method = _shared_method(study, series, before[0], version) if before else None
        if method is None:
            study.missing.append(f"{TECHNIQUES[step]}{f' ({series})' if series else ''}: {version.name} has nothing to be compared with that was asked the same way")
            continue
        technique = "fine-tuning with NEFTune" if version.alpha and not before[0].fine_tuned else TECHNIQUES[step]
        yield Step(technique, study.of(series, before[0], method)[0], study.of(series, version, method)[0], before[0].name, version.name, method)


def _best_asked(study, series):
    """The version at the largest t that was asked in most ways, of several the most trained."""
    versions = study.versions(series=series)
    largest = max(version.tokens for version in versions)
    return max((v for v in versions if v.tokens == largest), key=lambda v: (len(study.methods(series=series, version=v)), v.fine_tuned, v.alpha > 0, -v.alpha))


def _prompt_steps(study, series):
    """Ways of asking, each against the simpler one."""
    version = _best_asked(study, series)
    methods = study.methods(series=series, version=version)
    simple = next((method for method in methods if method.startswith("zero-shot")), None)
    cot = "CoT" if "CoT" in methods else simple
    for method in methods:
        before = cot if method == "CoT self-consistency" else simple
        if before is None or method == before:
            continue
        technique = "self-consistency" if method == "CoT self-consistency" and before == "CoT" else method
        yield Step(technique, study.of(series, version, before)[0], study.of(series, version, method)[0], before, method, version.name)
    whole = study.of(series, version, "MedPrompt")
    for part in [e for e in study.of(series, version, "MedPrompt", ablation=None) if e.ablation]:
        if whole:
            yield Step(f"MedPrompt's part: {part.ablation.removeprefix('without ')}", part, whole[0], f"MedPrompt {part.ablation}", "MedPrompt", version.name)


def _reading(record):
    if record["only_first"] + record["only_second"] == 0:
        return "adds nothing: the same questions are right"
    if record["p_corrected"] > LEVEL:
        seen = record["detectable"]
        return "adds nothing beyond noise" + (" (too few answers differ to tell)" if seen != seen else f" (less than {percent(seen)} points would be missed)")
    points = percent(abs(record["difference"]))
    return f"adds {points} points" if record["difference"] > 0 else f"takes {points} points away"


def contributions(study, metric="acc", correction="holm", seed=1234, resamples=10_000, tasks=None):
    """Records of all techniques that can be measured; what cannot is added to study.missing."""
    records = []
    for series in study.series:
        if not study.of(series=series):
            continue
        for step in itertools.chain(_training_steps(study, series), _prompt_steps(study, series)):
            for task in tasks or study.tasks():
                members = step.before.tasks.get(task)
                if members is None or step.after.tasks.get(task) != members:
                    continue
                try:
                    both = paired_items(str(step.before.folder), item_values(step.before.folder, members, metric),
                                        str(step.after.folder), item_values(step.after.folder, members, metric))
                except TableError as error:
                    study.missing.append(f"{step.technique} on {task} not compared: {error}")
                    continue
                paired = compare_items(both, seed, resamples, series, step.technique, step.before_name, step.after_name, step.asked, task, metric)
                records.append({"series": series, "technique": step.technique, "before": step.before_name, "after": step.after_name, "asked": step.asked,
                                "task": task, "metric": metric, **paired._asdict()})
    for record in with_corrections(records, correction):
        record["reading"] = _reading(record)
    return records


def shown_rows(records):
    """(header, rows) with the model's name in front where there are several."""
    with_series = len({record["series"] for record in records}) > 1
    rows = [([r["series"]] if with_series else []) +
            [r["technique"], r["before"], r["after"], r["asked"], r["task"], r["n"], percent(r["first"]), percent(r["second"]), signed_points(r["difference"]),
             f"{signed_points(r['ci_low'])} to {signed_points(r['ci_high'])}", p_text(r["p_corrected"]), r["reading"]] for r in records]
    return (["model"] if with_series else []) + SHOWN, rows


def note(correction, seed=1234, resamples=10_000):
    return (f"Differences in percentage points on the same items. p: exact McNemar test, corrected over all rows ({correction}); intervals: percentile bootstrap "
            f"over items, {resamples} resamples, seed {seed}, uncorrected. Points that would be missed: what so many items show with less than 80 % power at "
            "level 5 %.")


def write(records, output, correction="holm"):
    header, rows = shown_rows(records)
    return write_all(output, header, rows, records, columns="l" * (len(header) - 7) + "r" * 6 + "l", note=note(correction))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="+", type=named_tree, metavar="[NAME=]FOLDER", help="folders with evaluations, searched whole")
    parser.add_argument("--output", required=True, help="path without suffix; .md, .csv and .tex are added")
    parser.add_argument("--task", action="append", help="task or group (repeats; default: all, MMLU's subjects by their group)")
    parser.add_argument("--correction", choices=sorted(significance.CORRECTIONS), default="holm")
    options = parser.parse_args(arguments)
    try:
        study = collect(options.trees)
        records = contributions(study, correction=options.correction, tasks=options.task)
        for line in study.missing:
            print(f"table_contribution.py: {line}", file=sys.stderr)
        if not records:
            raise TableError("no two evaluations differ by one technique and hold the same items")
        print(write(records, options.output, options.correction), end="")
    except TableError as error:
        print(f"table_contribution.py: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
