"""Bad corpora, tokenizers, token shards and benchmark files."""

import gzip
import json

import pytest
from bad_input import DATA, Place, Table, check, make_trained
from osler_run import model_config

row = Table()


# --- corpora

@row(DATA)
def corpus_that_is_not_there(at):
    return at.tokenize(at.tmp / "absent.jsonl", ["absent.jsonl"])


@row(DATA)
def broken_json_when_told_to_stop(at):
    path = at.file("c.jsonl", '{"text": "fine"}\n{"text": broken}\n')
    return at.tokenize(path, ["c.jsonl:2"], "--tokenize.bad_records=stop")


@row(DATA)
def bad_utf8_when_told_to_stop(at):
    path = at.file("c.jsonl", b'{"text": "fine"}\n{"text": "\xff\xfe"}\n')
    return at.tokenize(path, ["c.jsonl:2"], "--tokenize.bad_records=stop")


@row(DATA)
def missing_field_when_told_to_stop(at):
    path = at.file("c.jsonl", '{"text": "fine"}\n{"body": "x"}\n')
    return at.tokenize(path, ["c.jsonl:2", "text"], "--tokenize.bad_records=stop")


@row(DATA)
def corpus_without_a_usable_document(at):
    return at.tokenize(at.file("c.jsonl", "{}\n[]\n"), ["c.jsonl"])


@row(DATA)
def empty_corpus(at):
    return at.tokenize(at.file("c.jsonl", ""), ["c.jsonl"])


@row(DATA)
def truncated_archive(at):
    whole = gzip.compress(b'{"text": "one two three four"}\n' * 500)
    return at.tokenize(at.file("c.jsonl.gz", whole[:len(whole) // 2]), ["c.jsonl.gz"], "--tokenize.bad_records=stop")


@row(DATA)
def tokenizer_that_is_none(at):
    path = at.file("tokenizer.model", "not a model")
    arguments, _, absent = at.tokenize(at.world.corpora / "general.jsonl", [])
    return [a if not str(a).startswith("--tokenize.tokenizer") else f"--tokenize.tokenizer={path}" for a in arguments], \
        ["tokenizer.model"], absent


# --- token shards

@row(DATA)
def shards_that_are_not_there(at):
    return at.pretrain(["absent"], data__source=f"general:1:{at.tmp / 'absent'}")


@row(DATA)
def shard_that_is_no_hdf5(at):
    at.file("shards/a.h5", "plain text")
    return at.pretrain(["a.h5"], data__source=f"general:1:{at.tmp / 'shards'}")


@row(DATA)
def shard_cut_short(at):
    source = next((at.world.shards / "general").rglob("*.h5"))
    at.file("shards/a.h5", source.read_bytes()[:-64])
    return at.pretrain(["a.h5"], data__source=f"general:1:{at.tmp / 'shards'}")


@row(DATA)
def hdf5_that_is_no_shard(at):
    import h5py
    (at.tmp / "shards").mkdir()
    with h5py.File(at.tmp / "shards/a.h5", "w") as file:
        file["x"] = [1.0, 2.0]
    return at.pretrain(["a.h5"], data__source=f"general:1:{at.tmp / 'shards'}")


@row(DATA)
def source_shorter_than_a_window(at):
    path = at.file("config.json", json.dumps(model_config(max_position_embeddings=10_000_000)))
    return at.pretrain(["general"], data__sequence_length=10_000_000, model__config=path)


@row(DATA)
def words_beyond_the_models_vocabulary(at):
    path = at.file("config.json", json.dumps(model_config(vocab_size=300)))
    return at.pretrain(["300"], model__config=path)


# --- benchmarks

@row(DATA)
def benchmark_that_is_not_there(at):
    return at.evaluate(f"medqa_4options:{at.tmp / 'absent.jsonl'}", ["absent.jsonl"])


@row(DATA)
def medqa_with_a_gold_that_is_no_option(at):
    path = at.file("q.jsonl", json.dumps({"question": "Q?", "options": {"A": "a", "B": "b", "C": "c", "D": "d"},
                                          "answer": "e", "answer_idx": "E"}) + "\n")
    return at.evaluate(f"medqa_4options:{path}", ["q.jsonl:1"])


@row(DATA)
def medmcqa_without_options(at):
    return at.evaluate(f"medmcqa:{at.file('q.json', json.dumps({'question': 'Q?', 'cop': 1}))}", ["q.json"])


@row(DATA)
def pubmedqa_with_an_unknown_decision(at):
    path = at.file("q.json", json.dumps({"1": {"QUESTION": "Q?", "CONTEXTS": ["c"], "final_decision": "perhaps"}}))
    return at.evaluate(f"pubmedqa:{path}", ["q.json", "final_decision"])


@row(DATA)
def mmlu_with_too_few_columns(at):
    return at.evaluate(f"mmlu_anatomy:{at.file('q.csv', 'What?,a,b,c' + chr(10))}", ["q.csv:1"])


@row(DATA)
def model_without_a_tokenizer(at):
    folder = at.hf()
    (folder / "tokenizer.model").unlink()
    path = at.file("q.jsonl", json.dumps({"id": 1, "question": "Q?", "options": ["a", "b"], "answer": "A"}) + "\n")
    return at.evaluate(f"generic:{path}", ["tokenizer"], model=folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return make_trained(tmp_path_factory.mktemp("trained"))


@pytest.mark.parametrize("prepare,code", row)
def test_bad_input(prepare, code, trained, tmp_path):
    check(prepare, code, Place(*trained, tmp_path))
