#!/usr/bin/env python3
"""The set-up table: models, data, tokens and hyperparameters of every run, from the configuration stamped into its folder.

    python analysis/table_setup.py --output out/setup [NAME=]STUDY_FOLDER [...]

One column for each run, one row for each setting. Writes OUTPUT.md, OUTPUT.tex and OUTPUT.csv.
"""

import argparse
import json
import sys

from read_tables import TableError
from study_tree import collect, named_tree
from versions import short_tokens
from write_tables import write_all

_NUMBERS = {"optim.learning_rate": "learning rate", "optim.min_learning_rate": "least learning rate", "optim.schedule": "schedule",
            "optim.warmup_steps": "warm-up (steps)", "optim.beta1": "AdamW beta 1", "optim.beta2": "AdamW beta 2", "optim.eps": "AdamW eps",
            "optim.weight_decay": "weight decay", "optim.clip_norm": "gradient clipping", "neftune.alpha": "NEFTune alpha", "router.aux_loss": "router loss",
            "router.aux_coefficient": "its coefficient", "parallel.dtype": "number type", "run.seed": "seed"}


def _name_of(path):
    return path.rstrip("/").rsplit("/", 1)[-1]


def _starts_from(config):
    origin = config.get("model.from")
    if origin:
        return " / ".join(origin[-1].rstrip("/").split("/")[-2:])
    return f"random weights ({_name_of(config['model.config'][-1])})" if config.get("model.config") else "–"


def _mixture(config):
    """Shares of NAME:WEIGHT:PATH sources in percent."""
    weights = []
    for source in config.get("data.source", []):
        name, weight, _ = source.split(":", 2)
        weights.append((name, float(weight)))
    total = sum(weight for _, weight in weights)
    return ", ".join(f"{name} {100 * weight / total:.3g} %" for name, weight in weights) if total > 0 else "–"


def settings_of(run):
    """{setting: text} of one run."""
    config, last = run.config, run.training.iloc[-1]
    single = lambda key: config[key][-1] if config.get(key) else "–"
    settings = {"starts from": _starts_from(config), "data": _mixture(config), "steps": f"{int(last['step'])}" + ("" if run.is_done else f" of {single('run.steps')}"),
                "tokens": short_tokens(last["tokens"], " ")}
    if config.get("data.global_batch") and config.get("data.sequence_length"):
        batch, length = int(single("data.global_batch")), int(single("data.sequence_length"))
        settings |= {"sequence length": f"{length}", "batch (sequences)": f"{batch}", "batch (tokens)": short_tokens(batch * length, " ")}
    routed = any(column.startswith("router/") for column in run.training)  # a dense model's router options say nothing
    settings |= {name: single(key) for key, name in _NUMBERS.items() if config.get(key) and (routed or not key.startswith("router."))}
    stamp = run.folder / "run.json"
    if stamp.exists():
        try:
            values = json.loads(stamp.read_text(encoding="utf-8"))
            layout = ", ".join(f"{axis} {size}" for axis, size in values.get("layout", {}).items())
            settings |= {"ranks": f"{values['world_size']}" + (f" ({layout})" if layout else ""), "build": str(values["version"]).splitlines()[0]}
        except (ValueError, KeyError, AttributeError, IndexError) as error:
            raise TableError(f"{stamp}: {error!r}") from error
    return settings


def setup_table(study):
    """(header, rows): settings down, runs across; a setting that a run lacks is a dash."""
    columns = [(f"{run.series}: {run.name}" if run.series else run.name, settings_of(run)) for run in study.runs]
    names = list(dict.fromkeys(name for _, settings in columns for name in settings))
    return ["setting", *(name for name, _ in columns)], [[name, *(settings.get(name, "–") for _, settings in columns)] for name in names]


def write(study, output):
    header, rows = setup_table(study)
    return write_all(output, header, rows, [dict(zip(header, row)) for row in rows], columns="l" * len(header))


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="+", type=named_tree, metavar="[NAME=]FOLDER", help="folders with runs, searched whole")
    parser.add_argument("--output", required=True, help="path without suffix; .md, .csv and .tex are added")
    options = parser.parse_args(arguments)
    try:
        study = collect(options.trees)
        if not study.runs:
            raise TableError("no run (a folder with metrics.jsonl) was found")
        print(write(study, options.output), end="")
    except TableError as error:
        print(f"table_setup.py: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
