#!/usr/bin/env python3
"""Writes the quickstart's world: general and clinical text, conversations, validation files, exam questions and a tokenizer.

The world is invented and seeded: the same arguments give the same files on every machine. With --tokenizer the
SentencePiece model (the only part that needs a package outside the standard library) is trained on the text too.
"""

import argparse
import json
import pathlib
import sys

from world import clinical, exam, facts, general, instruct

SHARD_DOCUMENTS = 2000
SPECIAL_TOKENS = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_documents(folder, kind, split, count, build):
    for shard, start in enumerate(range(0, count, SHARD_DOCUMENTS)):
        numbers = range(start, min(start + SHARD_DOCUMENTS, count))
        write_jsonl(folder / f"{split}_{shard:02d}.jsonl", ({"id": f"{kind}-{split}-{n:05d}", "text": build(split, n)} for n in numbers))


def build_world(output, seed, documents):
    conditions = facts.build_conditions(seed)
    builders = {"general": lambda split, n: general.build_document(seed, split, n),
                "clinical": lambda split, n: clinical.build_document(seed, split, n, conditions)}
    for kind, build in builders.items():
        write_documents(output / kind, kind, "train", documents, build)
        write_documents(output / "validation" / kind, kind, "valid", max(20, documents // 25), build)
    for split, count in (("train", documents // 2), ("valid", max(20, documents // 100))):
        write_jsonl(output / "instruct" / f"{split}.jsonl", (instruct.build_conversation(seed, split, n, conditions) for n in range(count)))
    for split, items in exam.build_exam(seed, conditions).items():
        write_jsonl(output / "exam" / f"{split}.jsonl", items)


def train_tokenizer(output, vocab_size):
    """A SentencePiece BPE model with Mistral's conventions, in a folder that transformers' AutoTokenizer loads."""
    import sentencepiece  # only needed here

    def sentences():
        for path in sorted(output.glob("general/*.jsonl")) + sorted(output.glob("clinical/*.jsonl")):
            with open(path, encoding="utf-8") as file:
                for row in file:
                    yield from json.loads(row)["text"].split("\n")

    folder = output / "tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "tokenizer.model", "wb") as model:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences(), model_writer=model, model_type="bpe", vocab_size=vocab_size, byte_fallback=True,
            split_digits=True, normalization_rule_name="identity", remove_extra_whitespaces=False, allow_whitespace_only_pieces=True,
            unk_id=0, bos_id=1, eos_id=2, pad_id=-1, character_coverage=1.0, num_threads=1, minloglevel=2)
    settings = SPECIAL_TOKENS | {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "legacy": True,
                                 "clean_up_tokenization_spaces": False, "model_max_length": 512}
    with open(folder / "tokenizer_config.json", "w", encoding="utf-8") as file:
        json.dump(settings, file, indent=2)
        file.write("\n")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=pathlib.Path, help="folder to write into")
    parser.add_argument("--seed", type=int, default=1871)
    parser.add_argument("--documents", type=int, default=8000, help="documents of each kind, general and clinical")
    parser.add_argument("--tokenizer", type=int, default=0, metavar="VOCAB_SIZE", help="also train a tokenizer of this many pieces")
    options = parser.parse_args(arguments)
    if options.documents < 1:
        parser.error("--documents must be at least 1")
    build_world(options.output, options.seed, options.documents)
    if options.tokenizer:
        train_tokenizer(options.output, options.tokenizer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
