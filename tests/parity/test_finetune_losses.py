"""20 steps of `osler finetune` against transformers + torch on the same batches: packing, mask, positions, normalisation,
router loss without padding, AdamW, clipping and schedule. With NEFTune the noise is ours, fed into the reference."""

import json
import math
import os
import shutil
import subprocess

import h5py
import numpy as np
import osler_run
import pytest
import torch
from chat_world import finetune, make_chats
from transformers import MistralConfig, MistralForCausalLM, MixtralConfig, MixtralForCausalLM
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

torch.set_num_threads(1)
STEPS, LENGTH, GLOBAL, MICRO, SEED = 20, 128, 6, 3, 11
PEAK, FLOOR, WARMUP = 3e-3, 3e-4, 3


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return osler_run.make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def chats(world, tmp_path_factory):
    return make_chats(world, tmp_path_factory.mktemp("chats"))


def make_model(world, folder, mixture):
    """Random weights that are large enough for every part to show, and the tokenizer beside them."""
    torch.manual_seed(5)
    config = osler_run.model_config(mixture, initializer_range=0.1)
    model = (MixtralForCausalLM if mixture else MistralForCausalLM)((MixtralConfig if mixture else MistralConfig).from_dict(config))
    model.save_pretrained(folder)
    shutil.copy(world.tokenizer / "tokenizer.model", folder)
    if mixture:
        model.set_experts_implementation("eager")
    return model.float()


def dump(folder, chats, alpha):
    folder.mkdir()
    spec = {"source": [["train", 1, str(chats.train)], ["other", 1, str(chats.other)]], "sequence_length": LENGTH, "global_batch": GLOBAL,
            "seed": SEED, "steps": STEPS, "alpha": alpha, "hidden_size": 32}
    (folder / "case.json").write_text(json.dumps({"batches": spec}))
    subprocess.run([os.environ["OSLER_PARITY_DRIVER"], str(folder)], check=True)
    steps = []
    for step in range(STEPS):
        read = lambda name: torch.from_numpy(np.fromfile(folder / "out" / f"step_{step}_{name}.bin"))
        batch = {name: read(name).long().view(GLOBAL, LENGTH) for name in ("tokens", "labels", "positions", "segments")}
        steps.append({**batch, "length": read("length").long(), "noise": read("noise").float().view(GLOBAL, LENGTH, -1)})
    return steps


def learning_rate(step):
    if step <= WARMUP:
        return PEAK * step / WARMUP
    return FLOOR + (PEAK - FLOOR) * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))


def micro_loss(model, batch, rows, total):
    """Objective and summed token loss of some rows of a global batch."""
    part = {name: value[rows] for name, value in batch.items()}
    same = part["segments"][:, :, None] == part["segments"][:, None, :]
    seen = same & (part["positions"][:, :, None] >= part["positions"][:, None, :])
    mask = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)[:, None]
    mixture = hasattr(model.config, "num_local_experts")
    out = model.model(inputs_embeds=model.model.embed_tokens(part["tokens"]) + part["noise"], position_ids=part["positions"], attention_mask=mask,
                      use_cache=False, **({"output_router_logits": True} if mixture else {}))
    logits = model.lm_head(out.last_hidden_state)
    token_loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), part["labels"].flatten(), reduction="sum")
    objective = token_loss / total
    if mixture:
        is_token = torch.arange(LENGTH) < part["length"][:, None]
        aux = load_balancing_loss_func(out.router_logits, model.config.num_local_experts, model.config.num_experts_per_tok, is_token.long())
        objective = objective + model.config.router_aux_loss_coef * aux / (GLOBAL // MICRO)
    return objective, token_loss.item()


def reference(model, steps):
    groups = [{"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.95), eps=1e-8)
    losses = []
    for number, batch in enumerate(steps, start=1):
        total = int((batch["labels"] != -100).sum())
        for group in adamw.param_groups:
            group["lr"] = learning_rate(number)
        adamw.zero_grad()
        sums = 0.0
        for first in range(0, GLOBAL, MICRO):
            objective, token_loss = micro_loss(model, batch, slice(first, first + MICRO), total)
            objective.backward()
            sums += token_loss
        losses.append(sums / total)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
    return losses


@pytest.mark.parametrize("mixture", [False, True], ids=["mistral", "mixtral"])
@pytest.mark.parametrize("alpha", [0, 5])
def test_twenty_steps_equal_transformers(world, chats, tmp_path, mixture, alpha):
    model = make_model(world, tmp_path / "model", mixture)
    steps = dump(tmp_path / "case", chats, alpha)
    assert (alpha > 0) == bool(steps[0]["noise"].abs().sum() > 0)
    finetune(world, chats, tmp_path / "run", mixture=mixture, model__config=None, model__from=tmp_path / "model", data__micro_batch=MICRO,
             neftune__alpha=alpha, optim__weight_decay=0.1)
    ours = [row["loss"] for row in osler_run.train_rows(tmp_path / "run")]
    theirs = reference(model, steps)
    assert theirs[-1] < 0.8 * theirs[0]   # it learns, so the comparison means something
    far = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    print(f"{'mixtral' if mixture else 'mistral'} alpha {alpha}: at most {far:.2e} apart")
    assert far < 1e-4


def stored_conversations(folder):
    found = []
    for path in sorted(folder.rglob("*.h5")):
        with h5py.File(path) as shard:
            tokens, offsets, mask = shard["tokens"][:].tolist(), shard["doc_offsets"][:].tolist(), shard["loss_mask"][:].tolist()
            found += [(tuple(tokens[a:b]), tuple(mask[a:b])) for a, b in zip(offsets, offsets[1:])]
    return found


def test_batches_hold_every_conversation_whole_with_its_mask(world, chats, tmp_path):
    """The reference above takes our batches; here they are taken apart again."""
    steps = dump(tmp_path / "case", chats, 5)
    seen = []
    for batch in steps:
        for row in range(GLOBAL):
            length = int(batch["length"][row])
            tokens, labels, positions, segments = (batch[name][row].tolist() for name in ("tokens", "labels", "positions", "segments"))
            assert labels[length:] == [-100] * (LENGTH - length) and not batch["noise"][row, length:].any()
            begin = 0
            while begin < length:
                end = begin
                while end < length and segments[end] == segments[begin]:
                    end += 1
                assert positions[begin:end] == list(range(end - begin))
                mask = [0] + [int(label != -100) for label in labels[begin:end - 1]]
                assert labels[end - 1] == -100 and all(label in (-100, token) for label, token in zip(labels[begin:], tokens[begin + 1:end]))
                seen.append((tuple(tokens[begin:end]), tuple(mask)))
                bound = 5 / math.sqrt((end - begin) * 32)
                noise = batch["noise"][row, begin:end]
                assert noise.abs().max() <= bound * 1.0001 and noise.abs().max() > 0.8 * bound
                begin = end
    stored = [chat for name in ("train", "other") for chat in stored_conversations(getattr(chats, name)) if len(chat[0]) <= LENGTH]
    assert set(seen) == set(stored), "every one that fits, and nothing else"
