#!/usr/bin/env python3
"""Figure 4: the zero-shot prompt of one question, with what was compared or answered.

    python analysis/figure4_zero_shot_prompt.py --output out/figure4 EVALUATION_FOLDER --task medqa_4options --item 0

It shows a benchmark's text: share the figure only as the benchmark's licence allows.
"""

import argparse
import pathlib
import sys

from draw_prompt import add_options, draw, prompt_parts, samples_file
from read_tables import TableError, read_scores

STRATEGIES = ("zero-shot",)


def make(folder, task, item, output):
    """Writes OUTPUT.png and OUTPUT.pdf and returns their paths."""
    strategy = str(read_scores(pathlib.Path(folder) / "scores.csv")["strategy"].iloc[0])
    if strategy not in STRATEGIES:
        raise TableError(f"{folder}: asked by {strategy}, not by {' or '.join(STRATEGIES)}")
    path = samples_file(folder, task)
    return draw(prompt_parts(path, item), f"Zero-shot prompt, {path.stem.removeprefix('samples_')}, item {item}", output)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    options = parser.parse_args(arguments)
    try:
        for path in make(options.folder, options.task, options.item, options.output):
            print(path)
    except TableError as error:
        print(f"figure4_zero_shot_prompt.py: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
