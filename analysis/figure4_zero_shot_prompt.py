#!/usr/bin/env python3
"""Figure 4: the zero-shot prompt of one question, with what was compared or answered.

    python analysis/figure4_zero_shot_prompt.py --output out/figure4 EVALUATION_FOLDER --task medqa_4options --item 0

It shows a benchmark's text: share the figure only as the benchmark's licence allows.
"""

import functools
import sys

from draw_prompt import draw_item, run

STRATEGIES = ("zero-shot",)
make = functools.partial(draw_item, "Zero-shot", STRATEGIES)
main = functools.partial(run, "figure4_zero_shot_prompt.py", __doc__, make)

if __name__ == "__main__":
    sys.exit(main())
