"""The quickstart's world: seeded, consistent, and its exam cannot be answered by matching words."""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

QUICKSTART = pathlib.Path(__file__).resolve().parents[2] / "configs" / "quickstart"
sys.path.insert(0, str(QUICKSTART))

from world import clinical, exam, facts, general  # noqa: E402
from world.keyed_random import KeyedRandom  # noqa: E402

SEED = 1871
LONGEST_SHARED = 8  # words


def words(text):
    return re.findall(r"[a-z0-9]+", text.lower())


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def make(output, *arguments, hash_seed="random"):
    return subprocess.run([sys.executable, QUICKSTART / "make_world.py", output, *map(str, arguments)], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONHASHSEED": str(hash_seed)})


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The very world that quickstart.sh makes."""
    folder = tmp_path_factory.mktemp("world")
    result = make(folder, "--tokenizer", 3072)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def texts(world):
    return {kind: [row["text"] for path in sorted((world / kind).glob("*.jsonl")) for row in read_jsonl(path)] for kind in ("general", "clinical")}


def test_same_seed_same_bytes_other_seed_other_world(tmp_path):
    for name, seed in {"one": 7, "two": 7, "three": 8}.items():
        assert make(tmp_path / name, "--seed", seed, "--documents", 50).returncode == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    for hash_seed in range(1, 7):  # Python orders sets of strings by it
        assert make(tmp_path / f"hash_{hash_seed}", "--seed", 7, "--documents", 50, hash_seed=hash_seed).returncode == 0
        assert contents(tmp_path / f"hash_{hash_seed}") == contents(tmp_path / "one"), f"PYTHONHASHSEED={hash_seed}"
    assert contents(tmp_path / "one")["exam/test.jsonl"] != contents(tmp_path / "three")["exam/test.jsonl"]


def test_draws_are_pinned():
    """Equal on every Python version: these values may only change with the world."""
    random = KeyedRandom("pin", 1)
    assert [random.below(1000) for _ in range(5)] == [865, 572, 900, 985, 507]
    assert random.shuffled(range(6)) == [2, 4, 0, 3, 5, 1]


def test_wrong_arguments_are_refused(tmp_path):
    assert make(tmp_path / "w", "--documents", 0).returncode == 2


def test_facts_are_distinct():
    conditions = facts.build_conditions(SEED)
    assert len(conditions) == facts.NUM_CONDITIONS
    for attribute in ("name", "cause", "finding", "test", "dose"):
        assert len({getattr(c, attribute) for c in conditions}) == len(conditions), attribute
    assert len({c.drug for c in conditions} | {c.reserve for c in conditions}) == 2 * len(conditions)
    for attribute in ("organ", "hazard", "complication"):
        counts = collections.Counter(getattr(c, attribute) for c in conditions)
        assert max(counts.values()) - min(counts.values()) <= 1, attribute


def test_documents_are_varied(texts):
    for kind, documents in texts.items():
        assert len(documents) == 8000
        assert len(set(documents)) > 0.995 * len(documents), kind
        lengths = sorted(len(words(text)) for text in documents)
        assert lengths[len(lengths) // 100] >= 10 and lengths[-1] <= 250, kind


def test_validation_is_held_out(world, texts):
    for kind in ("general", "clinical"):
        valid = [row["text"] for row in read_jsonl(next((world / "validation" / kind).glob("*.jsonl")))]
        assert len(valid) == 320
        assert len(set(valid) & set(texts[kind])) < 0.01 * len(valid), kind


def test_general_text_knows_no_medicine(texts):
    known = set(words(" ".join(texts["general"])))
    for condition in facts.build_conditions(SEED):
        for name in (condition.name, condition.drug, condition.reserve):
            assert words(name)[0] not in known


def test_every_fact_is_stated_often(texts):
    """A fact counts as stated where a document holds both the condition and the value."""
    stated = collections.Counter()
    conditions = facts.build_conditions(SEED)
    for text in texts["clinical"]:
        lower = text.lower()
        for condition in conditions:
            if condition.name.lower() in lower:
                for attribute in facts.ATTRIBUTES:
                    stated[condition.name, attribute] += getattr(condition, attribute).lower() in lower
    assert min(stated[c.name, a] for c in conditions for a in facts.ATTRIBUTES) >= 50


def test_exam_follows_from_the_facts(world):
    by_name = {c.name: c for c in facts.build_conditions(SEED)}
    asked = collections.Counter()
    for split in ("train", "dev", "test"):
        items = read_jsonl(world / "exam" / f"{split}.jsonl")
        assert len({item["id"] for item in items}) == len(items)
        for item in items:
            assert set(item) == {"id", "question", "options", "answer", "subject"}
            assert len(set(item["options"])) == 4
            gold = item["options"]["ABCD".index(item["answer"])]
            attribute = item["subject"].removesuffix("_reverse")
            if item["subject"].endswith("_reverse"):
                value = getattr(by_name[gold], attribute)
                assert value.lower() in item["question"].lower()
                wrong = [getattr(by_name[option], attribute) for option in item["options"] if option != gold]
                assert value not in wrong
            else:
                condition = next(c for name, c in by_name.items() if name in item["question"])
                assert getattr(condition, attribute) == gold
    assert len(read_jsonl(world / "exam" / "test.jsonl")) >= 200


def test_splits_ask_different_facts(world):
    """Same subject and same answer mean the same fact, for the kinds whose values are unique."""
    keys = {}
    for split in ("train", "dev", "test"):
        keys[split] = {(item["subject"], item["options"]["ABCD".index(item["answer"])]) for item in read_jsonl(world / "exam" / f"{split}.jsonl")
                       if item["subject"] not in ("organ", "hazard", "complication")}
    assert not keys["test"] & keys["train"] and not keys["test"] & keys["dev"] and not keys["dev"] & keys["train"]


def test_gold_letters_are_balanced(world):
    counts = collections.Counter(item["answer"] for item in read_jsonl(world / "exam" / "test.jsonl"))
    assert set(counts) == set("ABCD")
    assert max(counts.values()) < 0.35 * sum(counts.values())


def test_no_wording_of_the_exam_occurs_in_the_text(world, texts):
    """No run of eight words of a question, and no question as a whole, occurs in any document."""
    runs, questions = set(), set()
    for split in ("train", "dev", "test"):
        for item in read_jsonl(world / "exam" / f"{split}.jsonl"):
            asked = words(item["question"])
            questions.add(" ".join(asked))
            runs |= {tuple(asked[i:i + LONGEST_SHARED]) for i in range(len(asked) - LONGEST_SHARED + 1)}
    assert len(questions) > 200 and len(runs) > 200
    valid = [row["text"] for kind in ("general", "clinical") for path in (world / "validation" / kind).glob("*.jsonl") for row in read_jsonl(path)]
    for text in texts["general"] + texts["clinical"] + valid:
        said = words(text)
        for i in range(len(said) - LONGEST_SHARED + 1):
            assert tuple(said[i:i + LONGEST_SHARED]) not in runs, text
        joined = f" {' '.join(said)} "
        if "question" in joined:
            for line in text.split("\n"):
                assert " ".join(words(line.removeprefix("Question: "))) not in questions, text


def test_templates_use_known_words():
    for templates in general.TOPICS.values():
        for template in templates:
            for slot in re.findall(r"\{(\w+)\}", template):
                assert slot in general.SLOTS or slot == "friend", template
    for table in (clinical.STATEMENTS, clinical.EDUCATION, exam.STEMS):
        assert set(table) == set(facts.ATTRIBUTES)


def test_tokenizer_equals_transformers(world, texts):
    sentencepiece = pytest.importorskip("sentencepiece")
    transformers = pytest.importorskip("transformers")
    folder = world / "tokenizer"
    reference = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    assert (reference.unk_id(), reference.bos_id(), reference.eos_id(), reference.vocab_size()) == (0, 1, 2, 3072)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for text in texts["general"][:20] + texts["clinical"][:20] + ["Question: ä 12  mg?\nAnswer:"]:
        assert tokenizer(text)["input_ids"] == [1] + reference.encode(text)
        assert reference.decode(reference.encode(text)) == text
