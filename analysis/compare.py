#!/usr/bin/env python3
"""Compares evaluations of the same items pairwise: is a difference in accuracy more than noise?

    python analysis/compare.py --output out/base_vs_tuned runs/base/eval/zero_shot runs/tuned/eval/zero_shot [...]

Every further folder is compared with the first (or each with each: --all-pairs), task by task (--by-subject: also subject by
subject). Items are matched by number and by the hash of their text; folders that do not hold the same items are refused. A
group of tasks is compared over the items of all its members. Per row: exact McNemar test, percentile bootstrap interval of the
difference, p values corrected over all rows of the table, and the smallest difference that so many items would show with
80 % power (level 5 %, uncorrected). Writes OUTPUT.md, OUTPUT.tex and OUTPUT.csv.
"""

import argparse
import itertools
import pathlib
import sys

import pandas

import significance
from read_tables import TableError, read_evaluation, read_results, read_samples
from write_tables import p_text, percent, signed_points, write_all

LEVEL = 0.05
SHOWN = ["first", "second", "task", "subset", "n", "first (%)", "second (%)", "difference", "95 % interval", "only first", "only second", "p",
         "p corrected", "detectable", "reading"]


def tasks_of(folder):
    """{task or group: [member tasks]} of an evaluation folder: its samples files, and the groups that they complete."""
    folder = pathlib.Path(folder)
    tasks = {path.stem.removeprefix("samples_"): [path.stem.removeprefix("samples_")] for path in sorted(folder.glob("samples_*.jsonl"))}
    if not tasks:
        raise TableError(f"{folder}: no samples_*.jsonl")
    results = folder / "results.json"
    if results.exists():
        for group, members in read_results(results).get("group_subtasks", {}).items():
            if members and all(member in tasks for member in members):
                tasks[group] = list(members)
    return tasks


def item_values(folder, members, metric):
    """One row per item of the tasks `members`: task, doc_id, doc_hash, subject, value."""
    frames = [read_samples(pathlib.Path(folder) / f"samples_{task}.jsonl", metric).assign(task=task) for task in members]
    return pandas.concat(frames, ignore_index=True)


def paired_items(first_name, first, second_name, second):
    """Both tables of items side by side (value_first, value_second); the same items or TableError."""
    key = ["task", "doc_id"]
    both = first.merge(second, on=key, how="outer", suffixes=("_first", "_second"), indicator=True)
    task = both["task"].iloc[0]
    for side, name in (("left_only", first_name), ("right_only", second_name)):
        alone = both[both["_merge"] == side]
        if len(alone):
            raise TableError(f"{first_name} and {second_name} do not hold the same items of {alone['task'].iloc[0]}: {len(alone)} only in {name} "
                             f"(the first has doc_id {alone['doc_id'].iloc[0]}); evaluate both with the same file and eval.limit")
    unhashed = both[both["doc_hash_first"].isna() | both["doc_hash_second"].isna()]
    if len(unhashed):
        raise TableError(f"{first_name} or {second_name}: items of {task} have no doc_hash, so that nothing says that they are the same")
    other = both[both["doc_hash_first"] != both["doc_hash_second"]]
    if len(other):
        raise TableError(f"{first_name} and {second_name} do not hold the same items of {other['task'].iloc[0]}: {len(other)} have another text under the "
                         f"same number (the first is doc_id {other['doc_id'].iloc[0]}); evaluate both with the same file")
    return both.rename(columns={"subject_first": "subject"})


def compare_items(both, seed, resamples, *purpose):
    """significance.Paired of paired items; the bootstrap's stream is keyed by what is compared."""
    generator = significance.keyed_generator(seed, "paired bootstrap", *purpose)
    return significance.compare_paired(both["value_first"], both["value_second"], generator, resamples)


def reading(difference, corrected_p):
    """What a row says, in words."""
    if corrected_p > LEVEL:
        return "no difference beyond noise"
    return "second higher" if difference > 0 else "second lower"


def with_corrections(records, correction):
    """Adds p_corrected, detectable and reading to records that hold the fields of significance.Paired."""
    for record, p in zip(records, significance.corrected([record["p"] for record in records], correction)):
        discordant = (record["only_first"] + record["only_second"]) / record["n"]
        record["p_corrected"] = p
        record["correction"] = correction
        record["detectable"] = significance.detectable_paired(record["n"], discordant)
        record["reading"] = reading(record["difference"], p)
    return records


def compare_folders(named_folders, metric="acc", tasks=None, by_subject=False, all_pairs=False, correction="holm", seed=1234, resamples=10_000):
    """Records of all comparisons, in the order of folders and tasks. named_folders: [(name, folder)]."""
    for _, folder in named_folders:
        if (pathlib.Path(folder) / "scores.csv").exists():
            read_evaluation(folder)
    known = {name: tasks_of(folder) for name, folder in named_folders}
    pairs = list(itertools.combinations(named_folders, 2)) if all_pairs else [(named_folders[0], other) for other in named_folders[1:]]
    records = []
    for (first, first_folder), (second, second_folder) in pairs:
        shared = [task for task in known[first] if known[second].get(task) == known[first][task] and (not tasks or task in tasks)]
        if not shared:
            raise TableError(f"{first} and {second} have no task in common" + (f" among {', '.join(tasks)}" if tasks else ""))
        for task in shared:
            members = known[first][task]
            both = paired_items(first, item_values(first_folder, members, metric), second, item_values(second_folder, members, metric))
            subsets = [("all", both)]
            if by_subject:
                subsets += [(f"subject:{subject}", part) for subject, part in both.groupby("subject") if subject]
            for subset, part in subsets:
                paired = compare_items(part, seed, resamples, first, second, task, subset, metric)
                records.append({"first_name": first, "second_name": second, "task": task, "subset": subset, "metric": metric, **paired._asdict()})
    return with_corrections(records, correction)


def shown_rows(records):
    return [[r["first_name"], r["second_name"], r["task"], r["subset"], r["n"], percent(r["first"]), percent(r["second"]), signed_points(r["difference"]),
             f"{signed_points(r['ci_low'])} to {signed_points(r['ci_high'])}", r["only_first"], r["only_second"], p_text(r["p"]), p_text(r["p_corrected"]),
             percent(r["detectable"]), r["reading"]] for r in records]


def short_names(folders):
    """The shortest trailing parts of the paths that tell them apart."""
    parts = [pathlib.Path(folder).resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise TableError("the same folder is given twice")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="evaluation folders, two or more; the first is what the others are compared with")
    parser.add_argument("--output", required=True, help="path without suffix; .md, .csv and .tex are added")
    parser.add_argument("--metric", default="acc", help="field of the samples files (default acc)")
    parser.add_argument("--task", action="append", help="task or group to compare (repeats); default: all that both have")
    parser.add_argument("--by-subject", action="store_true", help="also a row for each subject of a task")
    parser.add_argument("--all-pairs", action="store_true", help="each folder with each, not only with the first")
    parser.add_argument("--correction", choices=sorted(significance.CORRECTIONS), default="holm", help="over all rows of the table (default holm)")
    parser.add_argument("--seed", type=int, default=1234, help="of the bootstrap (default 1234)")
    parser.add_argument("--resamples", type=int, default=10_000, help="of the bootstrap (default 10000)")
    options = parser.parse_args(arguments)
    if len(options.folders) < 2:
        parser.error("two folders are needed")
    if options.resamples < 100:
        parser.error("--resamples: at least 100")
    try:
        records = compare_folders(list(zip(short_names(options.folders), options.folders)), options.metric, options.task, options.by_subject,
                                  options.all_pairs, options.correction, options.seed, options.resamples)
    except TableError as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 3
    note = (f"Differences are second minus first, in percentage points of {options.metric}; p: exact McNemar, corrected over the table's rows "
            f"({options.correction}); intervals: {options.resamples} bootstrap resamples of items, seed {options.seed}; detectable: smallest difference "
            "that so many items show with 80 % power at level 5 %, given the share on which the two differ.")
    print(write_all(options.output, SHOWN, shown_rows(records), records, columns="llll" + "r" * 10 + "l", note=note), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
