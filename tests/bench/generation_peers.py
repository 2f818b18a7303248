"""The peers of bench_generation, same protocol: transformers' generate and lm-eval's scoring, as a careful user runs them.

usage: generation_peers.py MODEL_DIRECTORY DTYPE THREADS
"""

import json
import logging
import os
import sys
import time

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import torch
import transformers

BATCH_SIZE = 16   # of lm-eval; the best of 8, 16 and 32 on the machine that docs/benchmarks/generation.md names


class Clocks:
    """Wall time, and time of all the process's threads, since it was made."""

    def __init__(self):
        self.start = time.perf_counter(), time.process_time()

    def elapsed(self):
        return {"seconds": time.perf_counter() - self.start[0], "cpu_seconds": time.process_time() - self.start[1]}


class Peers:
    def __init__(self, directory, dtype):
        self.directory, self.dtype = directory, {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
        self.model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=self.dtype).eval()
        self.lm = None

    @torch.no_grad()
    def generate(self, question):
        tokens = torch.tensor(question["prompts"])
        start = Clocks()
        out = self.model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=question["new"],
                                  do_sample=False, pad_token_id=0, eos_token_id=None, use_cache=True)
        return {**start.elapsed(), "ids": out[:, tokens.shape[1]:].tolist()}

    def score(self, question):
        if self.lm is None:
            from lm_eval.models.huggingface import HFLM
            logging.disable(logging.WARNING)
            tokenizer = transformers.AutoTokenizer.from_pretrained(self.directory)
            self.lm = HFLM(pretrained=self.model, tokenizer=tokenizer, batch_size=BATCH_SIZE, device="cpu")
        # Same context text, same group: lm-eval then runs a context with one-token options once.
        requests = [((f"item {index}", f"option {option}"), context, [option])
                    for index, context in enumerate(question["contexts"]) for option in question["options"]]
        start = Clocks()
        scores = [score for score, _ in self.lm._loglikelihood_tokens(requests, disable_tqdm=True)]
        count = len(question["options"])
        return {**start.elapsed(), "scores": [scores[i:i + count] for i in range(0, len(scores), count)]}


def main():
    directory, dtype, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(threads)
    peers = Peers(directory, dtype)
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps(getattr(peers, question["work"])(question)), flush=True)


main()
