"""Writes evaluation and run folders in the format of docs/formats.md, for tests of analysis/."""

import hashlib
import json
import pathlib

from statsmodels.stats.proportion import proportion_confint

COLUMNS = ("schema_version,model,tokens_seen,fine_tuned,neftune_alpha,task,subset,strategy,scoring,shots,metric,value,stderr,ci_low,ci_high,n,unparsed,"
           "seed,config_hash,build,date").split(",")
CONFIG = "[eval]\nmodel = somewhere\nseed = 1234\n"


def sample(doc_id, right, task="exam", subject=None, prompt="Question: ?\nAnswer:", response=None, **fields):
    doc = {"id": f"{task}-{doc_id}", "question": f"Question {doc_id} of {task}?", "options": ["yes", "no"], "answer": 0}
    if subject:
        doc["subject"] = subject
    resps = [[response]] if response is not None else [[["-1.0", "True"]], [["-2.0", "False"]]]
    row = {"doc_id": doc_id, "doc": doc, "target": "0", "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": " A"}}, "resps": resps, "filter": "none",
           "metrics": ["acc"], "doc_hash": hashlib.sha256(json.dumps(doc).encode()).hexdigest(), "acc": float(right), "id": doc["id"],
           "prediction": "A" if right else "B", "gold": "A"}
    return row | fields


def score_row(values, task="exam", subset="all", unparsed=0, metric="acc", **fields):
    """A scores.csv row of these item values; further columns or other values by name."""
    n, mean = len(values), sum(values) / len(values)
    error = (sum((v - mean) ** 2 for v in values) / (n - 1) / n) ** 0.5 if n > 1 else ""
    low, high = proportion_confint(sum(values), n, method="wilson")
    row = {"schema_version": 1, "model": "runs/model", "tokens_seen": 0, "fine_tuned": 0, "neftune_alpha": 0.0, "task": task, "subset": subset,
           "strategy": "zero-shot", "scoring": "letter", "shots": 0, "metric": metric, "value": mean, "stderr": error, "ci_low": low, "ci_high": high, "n": n,
           "unparsed": unparsed, "seed": 1234, "config_hash": "ab" * 32, "build": "osler 0.1.0 (0123456)", "date": "2026-01-31T12:00:00Z"}
    return row | fields


def write_evaluation(folder, tasks, groups=None, extra_rows=(), subjects=None, unparsed=0, sample_fields=None, complete=True, **identity):
    """tasks: {task: [0 or 1 per item]}; groups: {group: [task]}; identity: columns of every row (tokens_seen=..., strategy=...)."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    rows = []
    for task, values in tasks.items():
        rows.append(score_row(values, task, unparsed=unparsed, **identity))
        lines = []
        for doc_id, right in enumerate(values):
            subject = subjects[doc_id % len(subjects)] if subjects else None
            lines.append(json.dumps(sample(doc_id, right, task, subject, **(sample_fields or {}))))
        (folder / f"samples_{task}.jsonl").write_text("\n".join(lines) + "\n")
    for group, members in (groups or {}).items():
        rows.append(score_row([v for member in members for v in tasks[member]], group, **identity))
    rows += [score_row(values, **(identity | fields)) for values, fields in extra_rows]
    columns = COLUMNS + [name for row in rows for name in row if name not in COLUMNS]
    columns = list(dict.fromkeys(columns))
    text = "\n".join([",".join(columns), *(",".join(str(row.get(column, "")) for column in columns) for row in rows)]) + "\n"
    (folder / "scores.csv").write_text(text)
    if complete:
        first = rows[0]
        osler = {"schema_version": 1, "build": first["build"], "started": first["date"], "checkpoint": f"{first['model']}/checkpoints/step_000000010",
                 "tokens_seen": first["tokens_seen"], "fine_tuned": bool(first["fine_tuned"]), "neftune_alpha": first["neftune_alpha"],
                 "tokenizer_sha256": "cd" * 32, "interval": "wilson", "config_hash": first["config_hash"], "config": CONFIG}
        (folder / "results.json").write_text(json.dumps({"results": {}, "group_subtasks": groups or {}, "osler": osler}))
    return folder


RUN_CONFIG = """[run]
# command line
seed = 1234
steps = {steps}

[model]
from = /weights/base-model

[data]
source = general:1:/tokens/general
source = clinical:3:/tokens/clinical
sequence_length = 64
global_batch = 16

[optim]
learning_rate = 3e-4
schedule = cosine
beta1 = 0.9
"""


def write_run(folder, steps=40, sources=("general", "clinical"), done=True, start=2.0):
    """A run folder whose loss falls as start * step^-0.1."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    lines = []
    for step in range(1, steps + 1):
        loss = start * step ** -0.1
        lines.append({"schema_version": 1, "step": step, "tokens": 1024 * step, "loss": loss} | {f"loss/{s}": loss + 0.3 * i + 0.02 * (step % 3)
                                                                                                for i, s in enumerate(sources)})
        if step % 10 == 0:
            lines.append({"schema_version": 1, "step": step, "tokens": 1024 * step} | {f"valid/{s}": loss + 0.3 * i + 0.05 for i, s in enumerate(sources)})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "config.ini").write_text(RUN_CONFIG.format(steps=steps if done else 2 * steps))
    (folder / "run.json").write_text(json.dumps({"version": "osler 0.1.0 (0123456)\n  build Release", "world_size": 2, "layout": {"dp": 2, "tp": 1, "edp": 1, "ep": 2},
                                                 "hosts": ["one"], "resumed_step": 0, "start_time": "2026-01-31T12:00:00Z"}))
    if done:
        (folder / "done").write_text(f"step {steps} 2026-01-31T13:00:00Z\n")
    return folder
