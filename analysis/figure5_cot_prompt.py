#!/usr/bin/env python3
"""Figure 5: the chain-of-thought prompt of one question, with the reasoning that the model wrote.

    python analysis/figure5_cot_prompt.py --output out/figure5 EVALUATION_FOLDER --task medqa_4options --item 0

It shows a benchmark's text: share the figure only as the benchmark's licence allows.
"""

import functools
import sys

from draw_prompt import draw_item, run

STRATEGIES = ("cot", "cot-sc", "medprompt")
make = functools.partial(draw_item, "Chain-of-thought", STRATEGIES)
main = functools.partial(run, "figure5_cot_prompt.py", __doc__, make)

if __name__ == "__main__":
    sys.exit(main())
