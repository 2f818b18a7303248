"""Conversations to fine-tune on, in the tiny world of osler_run: questions of some words, answers that follow from them.

    chats = make_chats(world, tmp / "chats")                      # a folder of shards per set
    finetune(world, chats, tmp / "run", ranks=2, neftune__alpha=5)
"""

import dataclasses
import json
import pathlib
import random

import osler_run


@dataclasses.dataclass
class Chats:
    train: pathlib.Path      # shards
    other: pathlib.Path
    held_out: pathlib.Path
    records: dict            # set -> list of records


def make_records(seed, count):
    rng = random.Random(seed)
    words = "fever cough aspirin dose renal cardiac chronic acute therapy insulin".split()
    records = []
    for i in range(count):
        turns = []
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            first, second = rng.choice(words), rng.choice(words)
            turns.append({"role": "user", "content": " ".join([first] * rng.randrange(1, 4) + [second])})
            turns.append({"role": "assistant", "content": f"{second} after {first}" + "." * rng.randrange(3)})
        if i % 5 == 0:
            turns.insert(0, {"role": "system", "content": "Be brief."})
        records.append({"messages": turns})
    return records


def make_chats(world, root, template="mistral-v1"):
    root = pathlib.Path(root)
    root.mkdir(parents=True, exist_ok=True)
    records = {"train": make_records(1, 150), "other": make_records(2, 60), "held_out": make_records(3, 30)}
    for name, content in records.items():
        (root / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in content))
        osler_run.run(["tokenize", "--tokenize.format=chat", f"--tokenize.template={template}", f"--tokenize.tokenizer={world.tokenizer}",
                       "--tokenize.deduplicate=off", f"--tokenize.input={name}:{root / f'{name}.jsonl'}", f"--tokenize.output={root / name}"])
    return Chats(root / "train", root / "other", root / "held_out", records)


def finetune_args(world, chats, run_dir, mixture=False, **overrides):
    """Command line after `finetune` of a small fp32 run from random weights."""
    given = {"data__source": [f"train:1:{chats.train}", f"other:1:{chats.other}"], "data__validation": f"held:{chats.held_out}",
             "data__sequence_length": 128, "data__global_batch": 6, "data__validation_sequences": 4, **overrides}
    return world.pretrain_args(run_dir, mixture, **given)


def finetune(world, chats, run_dir, ranks=1, mixture=False, env=None, expect=0, **overrides):
    return osler_run.run(["finetune", *finetune_args(world, chats, run_dir, mixture, **overrides)], ranks=ranks, env=env, expect=expect)
