"""Draws what a model was shown for one question, and what it answered, as figures 4 and 5 do.

The figure shows a benchmark's text, so nothing draws it unless it is asked for.
"""

import argparse
import pathlib
import sys
import textwrap

from drawing import COLOURS, look, pyplot, save
from read_tables import TableError, read_sample_row, read_scores

_WIDTH = 114  # characters in a line
_MAX_LINES = 70  # of the prompt: one printed page
_LINE_INCHES = 0.155


def _first_text(resps):
    """The first generated text in `resps`; None where the answers are log-likelihoods."""
    while isinstance(resps, list) and resps:
        if len(resps) == 2 and resps[1] in ("True", "False"):
            return None
        resps = resps[0]
    return resps if isinstance(resps, str) else None


def prompt_parts(samples_path, doc_id):
    """[(title, text)] of one item: prompt, the model's answer or the options that were scored, reading and gold."""
    row = read_sample_row(samples_path, doc_id)
    try:
        requests = [row["arguments"][f"gen_args_{i}"] for i in range(len(row["arguments"]))]
        prompt, answer = requests[0]["arg_0"], _first_text(row["resps"])
    except (KeyError, TypeError) as error:
        raise TableError(f"{samples_path}: item {doc_id} has no prompt ({error})") from error
    parts = [("Prompt", prompt)]
    if answer is not None:
        parts.append(("The model's answer", answer))
    else:
        parts.append(("Continuations compared by log-likelihood", "\n".join(repr(str(request.get("arg_1", ""))) for request in requests)))
    parts.append(("Read as / right answer", f"{row.get('prediction') or 'not readable'} / {row.get('gold')}"))
    return parts


def _wrapped(text):
    lines = []
    for line in text.split("\n"):
        first, *rest = textwrap.wrap(line, _WIDTH, drop_whitespace=False) or [""]
        lines += [first, *(piece.lstrip() for piece in rest)]  # an indent is the prompt's own, a space at a break is not
    if len(lines) > _MAX_LINES:
        half = _MAX_LINES // 2
        lines = lines[:half] + [f"[{len(lines) - 2 * half} lines left out]"] + lines[-half:]
    return lines


def draw(parts, title, output):
    """parts: of prompt_parts; writes OUTPUT.png and OUTPUT.pdf and returns their paths."""
    blocks = [(name, _wrapped(text)) for name, text in parts]
    height = _LINE_INCHES * (sum(len(lines) + 3 for _, lines in blocks) + 2)
    with look():
        figure = pyplot.figure(figsize=(8.0, height))
        y = height - _LINE_INCHES
        figure.text(0.02, y / height, title, fontsize=11, va="top", parse_math=False)
        y -= 2 * _LINE_INCHES
        for index, (name, lines) in enumerate(blocks):
            figure.text(0.02, y / height, name, fontsize=9, weight="bold", va="top", color=COLOURS[index % len(COLOURS)], parse_math=False)
            y -= 1.3 * _LINE_INCHES
            for line in lines:  # a line at a time: the pitch does not depend on the font's own
                figure.text(0.035, y / height, line, fontsize=8, family="monospace", va="top", parse_math=False)
                y -= _LINE_INCHES
            bottom, top = (y + 0.2 * _LINE_INCHES) / height, (y + (len(lines) + 0.2) * _LINE_INCHES) / height
            figure.add_artist(pyplot.Line2D([0.025, 0.025], [bottom, top], color=COLOURS[index % len(COLOURS)], linewidth=2))
            y -= 0.7 * _LINE_INCHES
        return save(figure, output)


def samples_file(folder, task):
    """The samples file of a task, or of the only task."""
    folder = pathlib.Path(folder)
    files = sorted(folder.glob("samples_*.jsonl"))
    if task:
        files = [folder / f"samples_{task}.jsonl"]
    if not files or not files[0].exists():
        raise TableError(f"{folder}: no samples" + (f" of {task}" if task else ""))
    if len(files) > 1:
        raise TableError(f"{folder}: choose with --task: {', '.join(path.stem.removeprefix('samples_') for path in files)}")
    return files[0]


def add_options(parser):
    parser.add_argument("folder", help="evaluation folder")
    parser.add_argument("--output", required=True, help="path without suffix; .png and .pdf are added")
    parser.add_argument("--task", help="task (default: the only one)")
    parser.add_argument("--item", type=int, default=0, help="doc_id of the question (default 0)")


def draw_item(kind, strategies, folder, task, item, output):
    """The prompt of one item of an evaluation asked by one of the strategies: OUTPUT.png and OUTPUT.pdf, whose paths it returns."""
    strategy = str(read_scores(pathlib.Path(folder) / "scores.csv")["strategy"].iloc[0])
    if strategy not in strategies:
        raise TableError(f"{folder}: asked by {strategy}, not by {' or '.join(strategies)}")
    path = samples_file(folder, task)
    return draw(prompt_parts(path, item), f"{kind} prompt, {path.stem.removeprefix('samples_')}, item {item}", output)


def run(script, description, make, arguments=None):
    """The command of a figure; `make` takes folder, task, item and output."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    options = parser.parse_args(arguments)
    try:
        for path in make(options.folder, options.task, options.item, options.output):
            print(path)
    except TableError as error:
        print(f"{script}: {error}", file=sys.stderr)
        return 3
    return 0
