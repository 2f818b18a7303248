#!/usr/bin/env python3
"""Figure 1: training loss on the general and on the clinical subset, side by side, against tokens.

    python analysis/figure1_training_loss.py --output out/figure1 base=runs/base/metrics.jsonl continued=runs/continued/metrics.jsonl --chain

Thin lines are the logged losses, bold ones their running mean, open circles the loss on held-out text.
"""

import argparse
import pathlib
import sys

import pandas

from drawing import COLOURS, STYLES, legend_below, look, panels, save, token_unit
from read_tables import TableError, read_metrics, sources_of


def named_path(text):
    name, separator, path = text.partition("=")
    if not separator or not name or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, pathlib.Path(path)


def running_mean(values, window):
    """Mean over `window` rows, fewer towards both ends so that it stays centred, and never more than an eighth of all rows."""
    half = min(window, len(values) // 8) // 2
    reach = [min(half, i, len(values) - 1 - i) for i in range(len(values))]
    return pandas.Series([values.iloc[i - r:i + r + 1].mean() for i, r in enumerate(reach)], dtype=float)


def _points(rows, column, start):
    if column not in rows:
        return pandas.DataFrame({"tokens": [], "loss": []})
    rows = rows[rows[column].notna()]
    return pandas.DataFrame({"tokens": start + rows["tokens"], "loss": rows[column].astype(float)}).reset_index(drop=True)


def loss_curves(runs, subset, chain=False):
    """What is drawn in one panel: [(name, training points, held-out points)], points with columns tokens and loss.

    runs: [(name, training, validation)] of read_metrics; with `chain` each run's tokens are counted on from the one before.
    """
    curves, start = [], 0
    for name, training, validation in runs:
        curves.append((name, _points(training, f"loss/{subset}", start), _points(validation, f"valid/{subset}", start)))
        start += training["tokens"].iloc[-1] if chain else 0
    return curves


def draw(runs, subsets, output, chain, window):
    """Writes OUTPUT.png and OUTPUT.pdf and returns their paths."""
    lengths = [int(training["tokens"].iloc[-1]) for _, training, _ in runs]
    scale, unit = token_unit(sum(lengths) if chain else max(lengths))
    with look():
        figure, axes = panels(len(subsets), sharex=True, height=4.0)
        for axis, subset in zip(axes, subsets):
            for index, (name, training, held_out) in enumerate(loss_curves(runs, subset, chain)):
                colour, style = COLOURS[index % len(COLOURS)], STYLES[index % len(STYLES)]
                if len(training):
                    axis.plot(training["tokens"] / scale, training["loss"], color=colour, alpha=0.25, linewidth=0.8)
                    axis.plot(training["tokens"] / scale, running_mean(training["loss"], window), color=colour, linestyle=style, linewidth=1.8,
                              label=name)
                if len(held_out):
                    axis.plot(held_out["tokens"] / scale, held_out["loss"], color=colour, marker="o", markersize=4, linestyle="none",
                              markerfacecolor="white")
            for end in range(1, len(runs) if chain else 0):
                axis.axvline(sum(lengths[:end]) / scale, color="0.6", linewidth=0.8, linestyle=(0, (2, 2)))
            axis.set_title(f"{subset} subset")
            axis.set_xlabel(f"tokens seen {unit}".strip())
            axis.set_ylabel("loss (nats per token)")
            axis.grid(color="0.92")
        if any(len(validation) for _, _, validation in runs):
            axes[0].plot([], [], color="0.3", marker="o", markersize=4, linestyle="none", markerfacecolor="white", label="held-out text")
        legend_below(figure, axes)
        return save(figure, output)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=named_path, metavar="NAME=METRICS_JSONL", help="runs, in the order in which they are drawn")
    parser.add_argument("--output", required=True, help="path without suffix; .png and .pdf are added")
    parser.add_argument("--subset", action="append", help="source to give a panel (repeats); default: general and clinical")
    parser.add_argument("--chain", action="store_true", help="each run continues the one before: its tokens are counted on")
    parser.add_argument("--smooth", type=int, default=9, metavar="ROWS", help="running mean of the bold lines, at most an eighth of a run (default 9 rows)")
    options = parser.parse_args(arguments)
    try:
        runs = [(name, *read_metrics(path)) for name, path in options.runs]
        known = {source for _, training, _ in runs for source in sources_of(training)}
        subsets = options.subset or ["general", "clinical"]
        for subset in subsets:
            if subset not in known:
                raise TableError(f"no run has a training loss on {subset!r}; there is {', '.join(sorted(known)) or 'none'}: choose with --subset")
        for path in draw(runs, subsets, options.output, options.chain, options.smooth):
            print(path)
    except TableError as error:
        print(f"figure1_training_loss.py: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
