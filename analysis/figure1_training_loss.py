#!/usr/bin/env python3
"""Figure 1: training loss on the general and on the clinical subset, side by side, against tokens."""

import argparse
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as pyplot  # noqa: E402

from read_tables import TableError, read_metrics, sources_of  # noqa: E402

# Okabe and Ito's palette: told apart by all common kinds of colour vision; line styles differ too.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
STYLES = ["-", "--", "-.", ":"]
UNITS = [(1e9, "billion"), (1e6, "million"), (1e3, "thousand"), (1, "")]


def named_path(text):
    name, separator, path = text.partition("=")
    if not separator or not name or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, pathlib.Path(path)


def _smooth(values, window):
    return values.rolling(window, center=True, min_periods=1).mean() if window > 1 else values


def draw(runs, subsets, output, chain, window):
    """runs: [(name, training, validation)]; writes OUTPUT.png and OUTPUT.pdf and returns their paths."""
    starts, end = [], 0
    for _, training, _ in runs:
        starts.append(end)
        end = end + training["tokens"].iloc[-1] if chain else 0
    largest = max(start + training["tokens"].iloc[-1] for start, (_, training, _) in zip(starts, runs))
    scale, unit = next((s, u) for s, u in UNITS if largest >= s)
    with pyplot.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "pdf.fonttype": 42}):
        figure, axes = pyplot.subplots(1, len(subsets), figsize=(4.6 * len(subsets), 3.6), sharex=True, squeeze=False, layout="constrained")
        for axis, subset in zip(axes[0], subsets):
            for index, (start, (name, training, validation)) in enumerate(zip(starts, runs)):
                colour, style = COLOURS[index % len(COLOURS)], STYLES[index % len(STYLES)]
                column = f"loss/{subset}"
                if column in training:
                    rows = training[training[column].notna()]
                    x = (start + rows["tokens"]) / scale
                    axis.plot(x, rows[column], color=colour, alpha=0.25, linewidth=0.8)
                    axis.plot(x, _smooth(rows[column], window), color=colour, linestyle=style, linewidth=1.8, label=f"{name}, training")
                held_out = f"valid/{subset}"
                if held_out in validation:
                    rows = validation[validation[held_out].notna()]
                    axis.plot((start + rows["tokens"]) / scale, rows[held_out], color=colour, marker="o", markersize=4, linestyle="none",
                              markerfacecolor="white", label=f"{name}, held out")
            if chain:
                for start in starts[1:]:
                    axis.axvline(start / scale, color="0.6", linewidth=0.8, linestyle=(0, (2, 2)))
            axis.set_title(f"{subset} subset")
            axis.set_xlabel(f"tokens seen ({unit})" if unit else "tokens seen")
            axis.set_ylabel("loss (nats per token)")
            axis.grid(color="0.92")
            axis.set_axisbelow(True)
            axis.legend(frameon=False, fontsize=8)
        paths = [pathlib.Path(f"{output}.{suffix}") for suffix in ("png", "pdf")]
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        for path in paths:
            # No creation date in the file: the same tables give the same bytes.
            figure.savefig(path, dpi=200, metadata={"CreationDate": None} if path.suffix == ".pdf" else {"Software": None})
        pyplot.close(figure)
    return paths


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=named_path, metavar="NAME=METRICS_JSONL", help="runs, in the order in which they are drawn")
    parser.add_argument("--output", required=True, help="path without suffix; .png and .pdf are added")
    parser.add_argument("--subset", action="append", help="source to give a panel (repeats); default: general and clinical")
    parser.add_argument("--chain", action="store_true", help="each run continues the one before: its tokens are counted on")
    parser.add_argument("--smooth", type=int, default=9, metavar="ROWS", help="running mean of the bold lines (default 9 rows)")
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
