"""Generates and scores with Osler, transformers and lm-eval in turn, the same weights in all, and prints how they compare.

usage: build/venv/bin/python tests/bench/generation.py [--models mistral,mixtral] [--dtypes fp32,bf16] [--rounds 3]
The model: 8 layers, hidden 512, 8 query and 2 key-value heads, ffn 1792 (Mixtral: 8 experts of 896, top-2), vocabulary
32000, random weights. Greedy, 32 prompts of 512 tokens, 64 new tokens each; a call for one new token is the prefill, what a
whole call takes beyond it is the decode phase. Scoring: items of MedQA's lengths with four options of one token. Processes
live side by side and take turns, so that what else the machine does meets all; ratios are medians of the rounds' ratios.
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
CONFIG = dict(vocab_size=32000, hidden_size=512, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=2,
              max_position_embeddings=4096, rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 1e4},
              sliding_window=None, bos_token_id=1, eos_token_id=2, initializer_range=0.02)
KINDS = {"mistral": ("Mistral", dict(intermediate_size=1792)),
         "mixtral": ("Mixtral", dict(intermediate_size=896, num_local_experts=8, num_experts_per_tok=2))}
DECODE_BAR = 2.0
WHOLE_BARS = {"fp32": 1.4, "bf16": 1.7}
SCORE_BAR = 1.5
SAMPLES_BAR = 1.3   # at most
CLOCK = "seconds"


class Process:
    def __init__(self, command, threads):
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen([*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment)

    def ask(self, **question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{"):   # libraries print too
                return json.loads(line)
        sys.exit(f"{self.process.args[0]} stopped with code {self.process.wait()}")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def make_model(kind, directory):
    import torch
    import transformers
    import exam_files
    name, sizes = KINDS[kind]
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**CONFIG, **sizes)
    getattr(transformers, f"{name}ForCausalLM")(config).save_pretrained(directory)
    exam_files.make_tokenizer(directory)


def medqa_lengths(count, rng):
    """Tokens of MedQA's four-option prompts as Mistral's tokenizer cuts them: median about 210, some beyond 500."""
    return [max(40, min(900, round(rng.lognormvariate(5.35, 0.4)))) for _ in range(count)]


def random_ids(rng, length):
    return [1] + [rng.randrange(3, CONFIG["vocab_size"]) for _ in range(length - 1)]


def in_turn(osler, peer, rounds, **question):
    """-> (ours, theirs) of each round; who goes first alternates."""
    results = []
    for index in range(rounds):
        pair = [osler, peer] if index % 2 == 0 else [peer, osler]
        answers = {process: process.ask(**question) for process in pair}
        results.append((answers[osler], answers[peer]))
    return results


def verdict(label, ratio, bar, at_most=False, more=""):
    passed = ratio <= bar if at_most else ratio >= bar
    print(f"  {label:34} x{ratio:.2f} (bar {'at most ' if at_most else ''}{bar})  {'pass' if passed else 'MISSED THE BAR'}   {more}",
          flush=True)
    return passed


def seconds(pairs, side):
    return [pair[side][CLOCK] for pair in pairs]


def compare_generation(osler, peer, options, dtype, rng):
    prompts = [random_ids(rng, options.length) for _ in range(options.batch)]
    prefill, whole = [], []
    for process in (osler, peer):
        process.ask(work="generate", prompts=prompts, new=2)   # warm-up
    for _ in range(options.rounds):
        prefill += in_turn(osler, peer, 1, work="generate", prompts=prompts, new=1)
        whole += in_turn(osler, peer, 1, work="generate", prompts=prompts, new=options.new)
    decode = [[w[side][CLOCK] - p[side][CLOCK] for w, p in zip(whole, prefill)] for side in (0, 1)]
    rates = [statistics.median(options.batch * (options.new - 1) / t for t in decode[side]) for side in (0, 1)]
    speeds = [statistics.median(options.batch * options.length / t for t in seconds(prefill, side)) for side in (0, 1)]
    totals = [statistics.median(options.batch * options.new / t for t in seconds(whole, side)) for side in (0, 1)]
    if any(len(ids) != options.new for ids in whole[0][0]["ids"]):
        sys.exit("a text ended early with EOS: it would be less work; use another seed")
    same = sum(a == b for a, b in zip(whole[0][0]["ids"], whole[0][1]["ids"]))
    print(f"  prefill {speeds[0]:.0f} and {speeds[1]:.0f} tokens/s (x{speeds[0] / speeds[1]:.2f}); equal texts: {same} of {options.batch}")
    ratio = [statistics.median(t / o for o, t in zip(decode[0], decode[1])),
             statistics.median(p[1][CLOCK] / p[0][CLOCK] for p in whole)]
    return [verdict("decode phase", ratio[0], DECODE_BAR, more=f"{rates[0]:.0f} and {rates[1]:.0f} tokens/s"),
            verdict("whole call", ratio[1], WHOLE_BARS[dtype], more=f"{totals[0]:.0f} and {totals[1]:.0f} new tokens/s")]


def compare_samples(osler, options, rng):
    """The prefill of one prompt with five samples against that with one."""
    prompts = [random_ids(rng, options.length)]
    one, five = [], []
    for index in range(4 * options.rounds + 1):   # the first is a warm-up
        one.append(osler.ask(work="generate", prompts=prompts, new=1)[CLOCK])
        five.append(osler.ask(work="generate", prompts=prompts, new=1, samples=5)[CLOCK])
    ratio = statistics.median(f / o for f, o in zip(five[1:], one[1:]))
    return [verdict("prefill of 5 samples to that of 1", ratio, SAMPLES_BAR, at_most=True)]


def compare_scoring(osler, peer, options, rng):
    contexts = [random_ids(rng, length) for length in medqa_lengths(options.items, rng)]
    question = dict(work="score", options=[330, 365, 334, 384])
    for process in (osler, peer):
        process.ask(contexts=contexts[:16], **question)
    rounds = in_turn(osler, peer, options.rounds, contexts=contexts, **question)
    far = max(abs(a - b) for ours, theirs in zip(rounds[0][0]["scores"], rounds[0][1]["scores"]) for a, b in zip(ours, theirs))
    rates = [statistics.median(len(contexts) / t for t in seconds(rounds, side)) for side in (0, 1)]
    return [verdict("scoring", statistics.median(p[1][CLOCK] / p[0][CLOCK] for p in rounds), SCORE_BAR,
                    more=f"{rates[0]:.1f} and {rates[1]:.1f} items/s, scores within {far:.1e}")]


def compare(kind, dtype, directory, options):
    rng = random.Random(5)
    print(f"{kind} {dtype}", flush=True)
    osler = Process([options.build / "bench_generation", directory, dtype, options.threads], options.threads)
    peer = Process([sys.executable, HERE / "generation_peers.py", directory, dtype, options.threads], options.threads)
    passed = []
    if "generate" in options.parts:
        passed += compare_generation(osler, peer, options, dtype, rng)
    if "samples" in options.parts:
        passed += compare_samples(osler, options, rng)
    if "score" in options.parts:
        passed += compare_scoring(osler, peer, options, rng)
    osler.close(), peer.close()
    return all(passed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent.parent / "build" / "release")
    parser.add_argument("--models", default="mistral,mixtral")
    parser.add_argument("--dtypes", default="fp32,bf16")
    parser.add_argument("--parts", default="generate,samples,score")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=pathlib.Path, help="make the models here and leave them")
    parser.add_argument("--cpu-time", action="store_true", help="compare processor time: with --threads 1 it says something on a busy machine too, "
                        "but not what the bars ask for")
    options = parser.parse_args()
    global CLOCK
    CLOCK = "cpu_seconds" if options.cpu_time else "seconds"
    passed = []
    with tempfile.TemporaryDirectory() as temporary:
        for kind in options.models.split(","):
            directory = (options.keep or pathlib.Path(temporary)) / kind
            if not (directory / "config.json").exists():
                make_model(kind, directory)
            passed += [compare(kind, dtype, directory, options) for dtype in options.dtypes.split(",")]
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
