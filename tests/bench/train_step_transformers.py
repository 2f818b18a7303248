"""The peer of bench_train_step: transformers in eager mode, same protocol (one line in, one step, one line of JSON out).

As a careful user would run it: SDPA attention, fused AdamW, gradients set to None, the loss of the library itself,
router losses on for Mixtral. bf16 is a pure bf16 model, the cheapest that transformers offers.
usage: train_step_transformers.py CONFIG_JSON DTYPE BATCH SEQUENCE THREADS [profile]
"""

import json
import resource
import sys
import time

import torch
from transformers import AutoConfig, AutoModelForCausalLM


def main():
    path, dtype, batch, length, threads = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(path)
    mixture = config.model_type == "mixtral"
    model = AutoModelForCausalLM.from_config(config).to({"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]).train()
    if mixture:
        model.set_experts_implementation("eager")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    tokens = torch.randint(0, config.vocab_size, (batch, length))

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = model(input_ids=tokens, labels=tokens, use_cache=False,
                     **(dict(output_router_logits=True) if mixture else {})).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) if len(sys.argv) > 6 else None
    for index, _ in enumerate(sys.stdin):
        if profile and index == 1:
            profile.start()
        start = time.perf_counter()
        loss = step()
        print(json.dumps({"seconds": time.perf_counter() - start, "loss": loss,
                          "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}), flush=True)
    if profile:
        profile.stop()
        print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=30, max_name_column_width=60), file=sys.stderr)


main()
