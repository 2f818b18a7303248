"""How all figures look, and how they are written: PNG for screens, PDF for print."""

import pathlib
import re

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as pyplot  # noqa: E402

# Okabe and Ito's palette: told apart by all common kinds of colour vision; markers and line styles differ too.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
STYLES = ["-", "--", "-.", ":"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
UNITS = [(1e9, "billion"), (1e6, "million"), (1e3, "thousand"), (1, "")]
_LETTERS_PER_INCH = 13  # of DejaVu Sans at 9 points, rather few
_LOOK = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "pdf.fonttype": 42, "axes.axisbelow": True}


def look():
    """Context in which figures are made and saved."""
    return pyplot.rc_context(_LOOK)


def panels(num, width=4.6, height=3.6, **options):
    """(figure, list of axes side by side)."""
    figure, axes = pyplot.subplots(1, num, figsize=(width * num, height), squeeze=False, layout="constrained", **options)
    return figure, list(axes[0])


def token_unit(largest):
    """(scale, words for the axis) so that numbers on it are short."""
    scale, unit = next(((s, u) for s, u in UNITS if largest >= s), (1, ""))
    return scale, f"({unit})" if unit else ""


def error_bars(rows):
    """Lengths of the intervals below and above the values, in percent, as errorbar takes them."""
    # At 0 and 1 an end is the value itself, and rounding may put it on the other side.
    return [(100 * (rows["value"] - rows["ci_low"])).clip(lower=0), (100 * (rows["ci_high"] - rows["value"])).clip(lower=0)]


def math_name(version):
    """P^2B+F with its tokens raised, as matplotlib writes mathematics."""
    return re.sub(r"^P\^([\w.]+)", lambda found: "$P^{%s}$" % (found[1] if found[1] == "t" else rf"\mathrm{{{found[1]}}}"), version)


def legend_below(figure, axes):
    """One legend under all panels, where it cannot cover data, in as many columns as fit."""
    entries = {}
    for axis in axes:
        entries.update({label: handle for handle, label in zip(*axis.get_legend_handles_labels()) if label not in entries})
    if entries:
        longest = max(len(label) for label in entries) + 7  # the handle and its gaps take about seven letters
        columns = max(1, int(figure.get_figwidth() * _LETTERS_PER_INCH / longest))
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=min(columns, len(entries)), frameon=False, fontsize=9)


def save(figure, output):
    """OUTPUT.png and OUTPUT.pdf; returns their paths. The same data give the same bytes."""
    paths = [pathlib.Path(f"{output}.{suffix}") for suffix in ("png", "pdf")]
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for path in paths:
        # No creation date in the file.
        figure.savefig(path, dpi=200, metadata={"CreationDate": None} if path.suffix == ".pdf" else {"Software": None})
    pyplot.close(figure)
    return paths
