"""Trains one small model with Osler and with transformers in turn and prints how they compare.

usage: build/venv/bin/python tests/bench/train_throughput.py [--models mistral,mixtral] [--dtypes fp32,bf16] [--rounds 5]
The model: 8 layers, hidden 512, 8 query and 2 key-value heads, ffn 1792 (Mixtral: 8 experts of 896, top-2), vocabulary
32000, batch 4 x 1024, AdamW, gradients clipped at 1. Both processes live side by side and take steps alternately, so
that what else the machine does meets both; ratios are medians of the rounds' ratios.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
BARS = {("mistral", "fp32"): 1.05, ("mistral", "bf16"): 1.15, ("mixtral", "fp32"): 1.2, ("mixtral", "bf16"): 1.2}
MEMORY_BAR = 0.8
CONFIG = dict(vocab_size=32000, hidden_size=512, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=2,
              hidden_act="silu", max_position_embeddings=4096, rms_norm_eps=1e-5, rope_theta=10000.0,
              tie_word_embeddings=False, initializer_range=0.02, sliding_window=None, torch_dtype="float32",
              bos_token_id=1, eos_token_id=2)
KINDS = {"mistral": dict(architectures=["MistralForCausalLM"], model_type="mistral", intermediate_size=1792),
         "mixtral": dict(architectures=["MixtralForCausalLM"], model_type="mixtral", intermediate_size=896,
                         num_local_experts=8, num_experts_per_tok=2, router_aux_loss_coef=0.02)}


class Process:
    def __init__(self, command):
        environment = {**os.environ, "OMP_NUM_THREADS": command[-1] if command[-1].isdigit() else "2", "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def step(self):
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args[0]} stopped with code {self.process.wait()}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def compare(kind, dtype, options, directory):
    path = pathlib.Path(directory) / kind
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps({**CONFIG, **KINDS[kind]}))
    shape = [dtype, str(options.batch), str(options.length), str(options.threads)]
    osler = Process([str(options.build / "bench_train_step"), str(path / "config.json"), *shape, options.recompute])
    peer = Process([sys.executable, str(HERE / "train_step_transformers.py"), str(path), *shape])
    for _ in range(options.warmup):
        osler.step(), peer.step()
    rounds = []
    for index in range(options.rounds):   # who goes first alternates as well
        pair = [osler, peer] if index % 2 == 0 else [peer, osler]
        results = {process: process.step() for process in pair}
        rounds.append((results[osler], results[peer]))
    osler.close(), peer.close()
    tokens = options.batch * options.length
    ours, theirs = (statistics.median(r[i]["seconds"] for r in rounds) for i in (0, 1))
    speed = statistics.median(r[1]["seconds"] / r[0]["seconds"] for r in rounds)
    memory = rounds[-1][0]["peak_gb"] / rounds[-1][1]["peak_gb"]
    passed = speed >= BARS[kind, dtype] and memory <= MEMORY_BAR
    print(f"{kind:8} {dtype}  osler {tokens / ours:7.1f} tokens/s {rounds[-1][0]['peak_gb']:5.2f} GB"
          f"   transformers {tokens / theirs:7.1f} tokens/s {rounds[-1][1]['peak_gb']:5.2f} GB"
          f"   speed x{speed:.3f} (bar {BARS[kind, dtype]})  memory x{memory:.3f} (bar {MEMORY_BAR})"
          f"   {'pass' if passed else 'BELOW THE BAR'}   rounds "
          + " ".join(f"{r[1]['seconds'] / r[0]['seconds']:.2f}" for r in rounds), flush=True)
    return passed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent.parent / "build" / "release")
    parser.add_argument("--models", default="mistral,mixtral")
    parser.add_argument("--dtypes", default="fp32,bf16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--recompute", default="none", choices=["none", "selective", "full"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        passed = [compare(kind, dtype, options, directory)
                  for kind in options.models.split(",") for dtype in options.dtypes.split(",")]
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
