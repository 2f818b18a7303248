"""`osler tokenize` against the Python sentencepiece package, document by document, and against its own promises: equal
shards for 1 to 4 ranks, every unusable record named, nothing half-written.

OSLER_MISTRAL_TOKENIZERS may name a folder that holds Mistral's own models (tokenizer.model.v1,
mistral_instruct_tokenizer_240323.model.v3); without it those two cases are skipped.
"""

import gzip
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import time

import h5py
import pytest
import sentencepiece
from osler_run import make_tokenizer, run, start

MISTRAL_FILES = ["tokenizer.model.v1", "mistral_instruct_tokenizer_240323.model.v3"]


def zstd(data):
    return subprocess.run(["zstd", "-q", "-c"], input=data, capture_output=True, check=True).stdout


def varied_texts(seed=5, count=400):
    """Words, numbers, odd Unicode, runs of spaces, control characters and things that look like special pieces."""
    rng = random.Random(seed)
    words = ("patient fever cough aspirin dose renal cardiac chronic acute therapy the of and with mg/kg 0.5 1,000 "
             "naïve Ångström café μg β-blocker ≥ ½ … — ﬁne ĳ").split()
    odd = ["\u2581", "\u2581\u2581", "\ufeff", "\u200b", "\u00a0", "\u3000", "\x00", "\x07", "\x7f", "\r\n", "\t", "\n\n\n", "   ", "🩺", "👩🏽‍⚕️",
           "e\u0301", "日本語の文章", "العربية", "हिन्दी", "\U0010ffff", "\ufffd", "<s>", "</s>", "<unk>", "<0x41>", "[INST]", "[/INST]",
           "�" * 3, "a" * 300, " " * 70, "\u1fff", "\ue000"]
    texts = [" leading", "trailing ", " ", "x", "\u2581", "\x00", "\n", "😀", "a  b   c", "\u2581 \u2581", "end\n", "\ufeffmark"]
    for _ in range(count):
        parts = [rng.choice(words) if rng.random() < 0.8 else rng.choice(odd) for _ in range(rng.randrange(1, 60))]
        texts.append("".join(part + rng.choice([" ", " ", " ", "", "\n", "  "]) for part in parts))
    return texts


def is_blank(text):
    return not text.replace("\ufeff", "").strip("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"
                                                + "".join(map(chr, range(0x2000, 0x200b))))


def read_shards(folder):
    """The documents' ids of all shards in a folder, in order."""
    documents = []
    for path in sorted(pathlib.Path(folder).glob("*.h5")):
        with h5py.File(path) as shard:
            tokens, offsets = shard["tokens"][:], shard["doc_offsets"][:]
            assert tokens.dtype == "uint16" and offsets.dtype == "uint64" and offsets[0] == 0
            assert shard.attrs["num_tokens"] == len(tokens) == offsets[-1]
            assert shard.attrs["num_documents"] == len(offsets) - 1
            documents += [tokens[begin:end].tolist() for begin, end in zip(offsets[:-1], offsets[1:])]
    return documents


def tokenize(tokenizer, output, inputs, ranks=1, expect=0, **options):
    return run(["tokenize", f"--tokenize.tokenizer={tokenizer}", f"--tokenize.output={output}",
                *[f"--tokenize.input={item}" for item in inputs],
                *[f"--tokenize.{key}={value}" for key, value in options.items()]], ranks=ranks, expect=expect)


def jsonl(records):
    return "".join(json.dumps(record) + "\n" for record in records).encode()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.mark.parametrize("name", ["trained here", *MISTRAL_FILES])
def test_ids_equal_python_sentencepiece(tmp_path, tokenizer, name):
    model = tokenizer / "tokenizer.model"
    if name != "trained here":
        if "OSLER_MISTRAL_TOKENIZERS" not in os.environ:
            pytest.skip("OSLER_MISTRAL_TOKENIZERS names no folder with Mistral's own tokenizer models")
        model = pathlib.Path(os.environ["OSLER_MISTRAL_TOKENIZERS"]) / name
    texts = varied_texts()
    (tmp_path / "in.jsonl").write_bytes(jsonl({"text": text} for text in texts))
    for add_bos in ("on", "off"):
        output = tmp_path / add_bos
        tokenize(model, output, [f"odd:{tmp_path / 'in.jsonl'}"], deduplicate="off", add_bos=add_bos)
        processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
        begin = [processor.bos_id()] if add_bos == "on" else []
        expected = [begin + processor.encode(text) + [processor.eos_id()] for text in texts if not is_blank(text)]
        found = read_shards(output / "odd")
        assert len(found) == len(expected)
        for ids, wanted in zip(found, expected):
            assert ids == wanted
        with h5py.File(output / "odd" / "shard_00000.h5") as shard:
            attributes = dict(shard.attrs)
        text = lambda value: value.decode() if isinstance(value, bytes) else value
        assert text(attributes["tokenizer_sha256"]) == hashlib.sha256(model.read_bytes()).hexdigest()
        assert text(attributes["source"]) == "odd" and text(attributes["created_by"]) == "osler"
        assert attributes["vocab_size"] == processor.get_piece_size() and attributes["eos_id"] == processor.eos_id()
        assert attributes["format_version"] == 1 and attributes["drop_empty"] == sum(map(is_blank, texts))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Files of every kind, big enough to be cut, with repeats across files and a few bad lines; and what must come out."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = random.Random(9)
    words = [f"word{i}" for i in range(500)]
    make = lambda: " ".join(rng.choice(words) for _ in range(rng.randrange(5, 200)))
    documents = [make() for _ in range(4000)]
    lines, bad = [], {}
    for number, text in enumerate(documents, start=1):
        if number % 501 == 0:
            lines.append(b"{broken\n")
            bad[number] = "bad_json"
        else:
            lines.append(jsonl([{"text": text if number % 7 else documents[number // 2]}]))
    (folder / "a.jsonl").write_bytes(b"".join(lines))
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(jsonl({"text": text} for text in documents[100:300] + [make() for _ in range(200)])))
    (folder / "c.jsonl.zst").write_bytes(zstd(jsonl({"text": make()} for _ in range(200))))
    (folder / "d.txt").write_text(documents[0])
    (folder / "e.md").write_text("# Title\n\n" + make())
    (folder / "f.txt.gz").write_bytes(gzip.compress(make().encode()))
    return folder, bad


def expected_documents(folder):
    texts = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        if path.suffix == ".zst":
            data = subprocess.run(["zstd", "-dqc"], input=data, capture_output=True, check=True).stdout
        if ".jsonl" in path.name:
            texts += [json.loads(line)["text"] for line in data.splitlines() if line != b"{broken"]
        else:
            texts.append(data.decode())
    return texts


def test_every_rank_count_gives_the_same_shards(tmp_path, tokenizer, corpus):
    folder, bad = corpus
    texts = expected_documents(folder)
    kept = list(dict.fromkeys(texts))
    assert len(kept) < len(texts) - 500
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer / "tokenizer.model"))
    trees, reports = [], []
    for ranks in (1, 2, 3, 4):
        output = tmp_path / str(ranks)
        tokenize(tokenizer, output, [f"x:{folder}", f"y:{folder / 'd.txt'}"], ranks=ranks)
        trees.append({str(path.relative_to(output)): path.read_bytes() for path in sorted(output.rglob("*.h5"))})
        report = json.loads((output / "tokenize.json").read_text())
        assert report["ranks"] == ranks
        reports.append({key: report[key] for key in ("sources", "problems", "num_problems", "inputs_sha256", "tokenizer_sha256")})
        assert sorted(path.name for path in output.iterdir()) == ["tokenize.json", "x", "y"]
    assert len(trees[0]) > 4, "the corpus is cut into several units"
    assert all(tree == trees[0] for tree in trees)
    assert all(report == reports[0] for report in reports)
    assert read_shards(tmp_path / "1" / "x") == [[1, *processor.encode(text), 2] for text in kept]
    source = reports[0]["sources"]["x"]
    assert source["documents"] == len(kept)
    assert source["dropped"] == {"bad_json": len(bad), "duplicate": len(texts) - len(kept)}
    assert source["tokens"] == sum(len(ids) for ids in read_shards(tmp_path / "1" / "x"))
    found = {problem["line"]: problem["reason"] for problem in reports[0]["problems"]}
    assert found == bad and all(problem["file"].endswith("a.jsonl") for problem in reports[0]["problems"])
    assert reports[0]["sources"]["y"]["documents"] == 1, "duplicates are sought within a source"


def test_shard_size_is_kept(tmp_path, tokenizer, corpus):
    folder, _ = corpus
    tokenize(tokenizer, tmp_path / "whole", [f"x:{folder}"])
    tokenize(tokenizer, tmp_path / "small", [f"x:{folder}"], shard_tokens=20_000)
    assert read_shards(tmp_path / "small" / "x") == read_shards(tmp_path / "whole" / "x")
    for path in (tmp_path / "small" / "x").glob("*.h5"):
        with h5py.File(path) as shard:
            assert shard.attrs["num_tokens"] <= 20_000 or shard.attrs["num_documents"] == 1


def test_several_fields_are_joined(tmp_path, tokenizer):
    (tmp_path / "qa.jsonl").write_bytes(jsonl([{"question": "Why?", "answer": "So."}]))
    tokenize(tokenizer, tmp_path / "out", [f"qa:{tmp_path / 'qa.jsonl'}"], text_field="question,answer")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer / "tokenizer.model"))
    assert read_shards(tmp_path / "out" / "qa") == [[1, *processor.encode("Why?\nSo."), 2]]


GOOD = jsonl([{"text": "a good document"}])
SECRET = "Jane Doe 1957"
MANY = jsonl({"text": f"{SECRET} {i}"} for i in range(5000))
# name -> bytes, what must be named (after the path), reason
BAD_FILES = {
    "json.jsonl": (GOOD + b'{"text": "' + SECRET.encode(), ":2", "bad_json"),
    "array.jsonl": (GOOD + b'["' + SECRET.encode() + b'"]\n', ":2", "bad_json"),
    "twice.jsonl": (GOOD + b'{"text": "a", "text": "' + SECRET.encode() + b'"}\n', ":2", "bad_json"),
    "deep.jsonl": (GOOD + b"\n" + b'{"text": "a", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", ":3", "bad_json"),
    "utf8.jsonl": (GOOD + b'{"text": "' + SECRET.encode() + b'\xff"}\n', ":2", "bad_utf8"),
    "field.jsonl": (GOOD + jsonl([{"body": SECRET}]), ":2", "missing_field"),
    "type.jsonl": (GOOD + jsonl([{"text": [SECRET]}]), ":2", "missing_field"),
    "blank.jsonl": (GOOD + jsonl([{"text": "  "}]), ":2", "empty"),
    "none.jsonl": (b"", "", "empty"),
    "none.txt": (b"", "", "empty"),
    "none.jsonl.gz": (b"", ":1", "corrupt"),
    "utf8.txt": (SECRET.encode() + b"\nsecond\n\xe9\n", ":3", "bad_utf8"),
    "utf16.txt": (SECRET.encode("utf-16"), ":1", "bad_utf8"),
    "cut.jsonl.gz": (gzip.compress(MANY)[:-2000], ":", "corrupt"),
    "cut.jsonl.zst": (zstd(MANY)[:-200], ":", "corrupt"),
    "cut.txt.gz": (gzip.compress(MANY)[:-2000], "", "corrupt"),
    "plain.jsonl.gz": (MANY, ":1", "corrupt"),
    "plain.jsonl.zst": (MANY, ":1", "corrupt"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_records_are_named_and_skipped_or_stop(tmp_path, tokenizer, name):
    data, place, reason = BAD_FILES[name]
    bad = tmp_path / "in" / name
    bad.parent.mkdir()
    bad.write_bytes(data)
    (tmp_path / "in" / "good.txt").write_text("one good document")

    skipped = tokenize(tokenizer, tmp_path / "skip", [f"x:{tmp_path / 'in'}"])
    assert f"{bad}{place}" in skipped.stderr and reason in skipped.stderr
    report = json.loads((tmp_path / "skip" / "tokenize.json").read_text())
    assert report["sources"]["x"]["dropped"] == {reason: 1} and report["num_problems"] == 1
    assert report["problems"][0]["file"] == str(bad)

    ranks = 2 if name == "json.jsonl" else 1
    stopped = tokenize(tokenizer, tmp_path / "stop", [f"x:{tmp_path / 'in'}"], ranks=ranks, bad_records="stop", expect=3)
    assert f"{bad}{place}" in stopped.stderr and reason in stopped.stderr
    assert stopped.stderr.count(f"{bad}{place}") == 1, "said once, not by every rank"
    assert SECRET not in skipped.stderr + stopped.stderr + json.dumps(report)
    assert not list((tmp_path / "stop").rglob("*")), "nothing half-written"


def test_what_cannot_start_says_why(tmp_path, tokenizer):
    good = tmp_path / "good.txt"
    good.write_text("a good document")
    (tmp_path / "not.model").write_bytes(b"not a model")
    (tmp_path / "cut.model").write_bytes((tokenizer / "tokenizer.model").read_bytes()[:3000])
    (tmp_path / "bad.jsonl").write_bytes(b"{\n{\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "data.parquet").write_bytes(b"PAR1")
    cases = [  # tokenizer, input, exit code, what is named
        (tmp_path / "absent", good, 3, tmp_path / "absent"),
        (tmp_path / "folder", good, 3, "tokenizer.model"),
        (tmp_path / "not.model", good, 3, tmp_path / "not.model"),
        (tmp_path / "cut.model", good, 3, tmp_path / "cut.model"),
        (good, good, 3, good),
        (tokenizer, tmp_path / "absent.jsonl", 3, tmp_path / "absent.jsonl"),
        (tokenizer, tmp_path / "*.nothing", 3, "*.nothing"),
        (tokenizer, tmp_path / "folder", 3, tmp_path / "folder"),
        (tokenizer, tmp_path / "data.parquet", 3, "data.parquet"),
        (tokenizer, tmp_path / "bad.jsonl", 3, "source x"),
    ]
    for ranks, chosen in ((1, cases), (2, cases[3:6])):
        for model, path, code, named in chosen:
            result = tokenize(model, tmp_path / "out", [f"x:{path}"], ranks=ranks, expect=code)
            assert str(named) in result.stderr, (str(path), result.stderr)
            assert not list((tmp_path / "out").rglob("*")), (model, path)
    for name in ("../x", "..", ".partial"):
        assert name in tokenize(tokenizer, tmp_path / "out", [f"{name}:{good}"], expect=2).stderr
    result = tokenize(tokenizer, good, [f"x:{good}"], expect=5)
    assert str(good) in result.stderr


def test_output_folder_is_taken_over_only_from_the_same_run(tmp_path, tokenizer):
    good = tmp_path / "good.txt"
    good.write_text("a good document")
    output = tmp_path / "out"
    tokenize(tokenizer, output, [f"x:{good}"])
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    assert "complete" in tokenize(tokenizer, output, [f"x:{good}"], ranks=2).stderr
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    assert "another config" in tokenize(tokenizer, output, [f"x:{good}"], add_bos="off", expect=3).stderr
    good.write_text("another document")
    assert "changed" in tokenize(tokenizer, output, [f"x:{good}"], expect=3).stderr
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before

    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    assert "thesis.txt" in tokenize(tokenizer, foreign, [f"x:{good}"], expect=3).stderr
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]


def test_a_killed_run_starts_again(tmp_path, tokenizer, corpus):
    folder, _ = corpus
    arguments = ["tokenize", f"--tokenize.tokenizer={tokenizer}", f"--tokenize.input=x:{folder}", "--tokenize.shard_tokens=5000"]
    reference = tmp_path / "reference"
    run([*arguments, f"--tokenize.output={reference}"])
    expected = {path.name: path.read_bytes() for path in (reference / "x").iterdir()}
    output = tmp_path / "killed"
    killed_halfway = 0
    for delay in (0.0, 0.05, 0.3):
        process = start([*arguments, f"--tokenize.output={output}"])
        deadline = time.time() + 60
        while not (output / ".partial" / "x").is_dir() and process.poll() is None and time.time() < deadline:
            time.sleep(0.002)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed_halfway += (output / ".partial").exists()
        assert not (output / "x").exists() or (output / "tokenize.json").exists()
    assert killed_halfway, "no kill met the run at work"
    run([*arguments, f"--tokenize.output={output}"])
    assert {path.name: path.read_bytes() for path in (output / "x").iterdir()} == expected
    assert sorted(path.name for path in output.iterdir()) == ["tokenize.json", "x"]
