"""`osler tokenize` against benchmark files: what is dropped, what is reported, whatever the number of ranks."""

import hashlib
import json
import random

import h5py
import pytest

from osler_run import make_tokenizer, run

WORDS = [f"word{i}" for i in range(400)]
STOCK = "which of the following is the most likely explanation of what this patient has now"  # 15 words


def vignette(seed, words=40):
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def medqa(question):
    return {"question": question, "answer": "a", "answer_idx": "A", "options": dict(zip("ABCD", ("a", "b", "c", "d")))}


QUESTIONS = [
    f"{vignette(1)}. {STOCK}?",  # 0: whole, in other case and punctuation
    f"{vignette(2)}. {STOCK}?",  # 1: thirteen of its words
    f"{vignette(3)}. {STOCK}?",  # 2: only the stock phrase
    "What treats acne?",         # 3: too short to look for
    f"{vignette(4)}, what next?",  # 4: only in a document that is there twice
    f"{vignette(5)}, what next?",  # 5: twelve of its words: no overlap
]


def documents():
    filler = [vignette(1000 + i, 60) for i in range(60)]
    texts = [f"{filler[i]} {STOCK} {filler[i]}" for i in range(20)] + filler[20:]
    shouted = QUESTIONS[0].upper().replace(" ", " \u2014 ")
    leaks = {
        3: f"{filler[0]} {shouted} {filler[1]}",
        17: f"{filler[2]} {' '.join(QUESTIONS[1].split()[5:18])} {filler[3]}",
        30: f"{filler[4]} {' '.join(QUESTIONS[5].split()[5:17])} {filler[5]}",
        31: f"{filler[6]} what treats acne {filler[7]}",
        40: f"{filler[8]} {QUESTIONS[4]}",
        45: f"{filler[8]} {QUESTIONS[4]}",
    }
    for place, text in leaks.items():
        texts.insert(place, text)
    return texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("decontaminate")
    make_tokenizer(root / "tokenizer")
    (root / "corpora").mkdir()
    texts = documents()
    for name, part in (("a", texts[:35]), ("b", texts[35:])):
        for i in range(3):  # several units of work
            lines = [json.dumps({"text": text}) for text in part[i::3]]
            (root / "corpora" / f"{name}{i}.jsonl").write_text("\n".join(lines) + "\n")
    (root / "medqa.jsonl").write_text("".join(json.dumps(medqa(question)) + "\n" for question in QUESTIONS))
    return root


def tokenize(folder, output, *more, ranks=1, expect=0):
    inputs = [f"--tokenize.input={name}:{folder / 'corpora'}/{name}*.jsonl" for name in "ab"]
    return run(["tokenize", *inputs, f"--tokenize.tokenizer={folder / 'tokenizer'}", f"--tokenize.output={output}", *more],
               ranks=ranks, expect=expect)


def against(folder):
    return f"--tokenize.decontaminate=medqa_4options:{folder / 'medqa.jsonl'}"


def report_of(output):
    return json.loads((output / "tokenize.json").read_text())


def touched_in(output, name="medqa_4options"):
    return [json.loads(line) for line in (output / f"contamination_{name}.jsonl").read_text().splitlines()]


def test_what_is_removed_and_told(folder, tmp_path):
    output = tmp_path / "out"
    told = tokenize(folder, output, against(folder)).stderr
    touched = touched_in(output)
    assert [row["item"] for row in touched] == [0, 1, 4]
    whole, part, twice = touched
    assert list(whole) == ["item", "id", "line", "question_sha256", "ngram_hits", "question_hit", "documents"]
    for row in touched:
        assert row["question_sha256"] == hashlib.sha256(QUESTIONS[row["item"]].encode()).hexdigest()
        assert row["line"] == row["item"] + 1 and row["documents"] == 1
    # 55 words hold 43 runs of 13, of which the last 3 are the stock phrase's own.
    assert (whole["ngram_hits"], whole["question_hit"]) == (40, True)
    assert (part["ngram_hits"], part["question_hit"]) == (1, False)
    assert twice["question_hit"]
    report = report_of(output)
    summary = report["decontamination"]
    assert summary["action"] == "remove" and summary["stock_phrases"] == 3
    benchmark = summary["benchmarks"]["medqa_4options"]
    assert (benchmark["items"], benchmark["touched"], benchmark["question_hits"], benchmark["too_short"]) == (6, 3, 2, 1)
    assert benchmark["documents"] == {"a": 2, "b": 1}
    assert {name: source["dropped"].get("contaminated") for name, source in report["sources"].items()} == {"a": 2, "b": 1}
    assert report["sources"]["b"]["dropped"]["duplicate"] == 1
    assert sum(source["documents"] for source in report["sources"].values()) == len(documents()) - 4
    assert "benchmark medqa_4options: 3 of 6 items touched" in told
    sha = hashlib.sha256((folder / "medqa.jsonl").read_bytes()).hexdigest()
    shard = next((output / "a").glob("*.h5"))
    with h5py.File(shard) as file:
        assert file.attrs["decontaminated_against"].decode() == f"medqa_4options:{sha}"
    assert f"medqa_4options:{sha}" in run(["inspect", shard]).stdout
    assert "medqa_4options" in run(["inspect", output]).stdout


def test_ranks_do_not_matter(folder, tmp_path):
    expected = None
    for ranks in (1, 2, 3, 4):
        output = tmp_path / str(ranks)
        tokenize(folder, output, against(folder), ranks=ranks)
        report = report_of(output)
        found = ({str(path.relative_to(output)): path.read_bytes() for path in sorted(output.rglob("*"))
                  if path.suffix in (".h5", ".jsonl")}, report["decontamination"], report["sources"])
        expected = expected or found
        assert found == expected, ranks


def test_report_leaves_documents_in(folder, tmp_path):
    removed, reported, plain = tmp_path / "removed", tmp_path / "reported", tmp_path / "plain"
    tokenize(folder, removed, against(folder))
    tokenize(folder, reported, against(folder), "--tokenize.decontaminate_action=report")
    tokenize(folder, plain)
    assert touched_in(reported) == touched_in(removed)
    shards = sorted(path.relative_to(plain) for path in plain.rglob("*.h5"))
    assert shards and all((plain / path).read_bytes() == (reported / path).read_bytes() for path in shards)


def test_limits_are_the_users(folder, tmp_path):
    tokenize(folder, tmp_path / "any", against(folder), "--tokenize.decontaminate_max_documents=0")
    assert {row["item"] for row in touched_in(tmp_path / "any")} == {0, 1, 2, 4}
    tokenize(folder, tmp_path / "short", against(folder), "--tokenize.decontaminate_min_words=3")
    assert {row["item"] for row in touched_in(tmp_path / "short")} == {0, 1, 3, 4}
    tokenize(folder, tmp_path / "twelve", against(folder), "--tokenize.decontaminate_ngram=12")
    assert {row["item"] for row in touched_in(tmp_path / "twelve")} == {0, 1, 4, 5}


def test_done_is_done_until_the_benchmark_changes(folder, tmp_path):
    benchmark = tmp_path / "mine.jsonl"
    benchmark.write_bytes((folder / "medqa.jsonl").read_bytes())
    option = f"--tokenize.decontaminate={benchmark}"  # no name: the file's
    tokenize(folder, tmp_path / "out", option)
    assert len(touched_in(tmp_path / "out", "mine")) == 3
    assert "nothing to do" in tokenize(folder, tmp_path / "out", option).stderr
    benchmark.write_text(json.dumps(medqa(QUESTIONS[0])) + "\n")
    assert "before they changed" in tokenize(folder, tmp_path / "out", option, expect=3).stderr


def test_what_a_killed_run_left_is_replaced(folder, tmp_path):
    output = tmp_path / "out"
    tokenize(folder, output, against(folder))
    before = (output / "contamination_medqa_4options.jsonl").read_bytes()
    (output / ".partial").mkdir()
    (output / ".partial" / "config_hash").write_text(report_of(output)["config_hash"])
    (output / "tokenize.json").unlink()
    (output / "contamination_medqa_4options.jsonl").write_text("torn")
    tokenize(folder, output, against(folder))
    assert (output / "contamination_medqa_4options.jsonl").read_bytes() == before


@pytest.mark.parametrize("name, content, code, message", [
    ("b.jsonl", '{"question": "q"', 3, "b.jsonl:1"),
    ("b.jsonl", '{"question": 5, "options": ["a", "b"], "answer": 0}', 3, "b.jsonl:1"),
    ("b.jsonl", b"\xff\n", 3, "not valid UTF-8"),
    ("b.csv", "a,b\n", 3, "b.csv:1"),
    ("missing.jsonl", None, 3, "missing.jsonl"),
])
def test_bad_benchmarks(folder, tmp_path, name, content, code, message):
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    told = tokenize(folder, tmp_path / "out", f"--tokenize.decontaminate={tmp_path / name}", expect=code).stderr
    assert message in told
    assert not (tmp_path / "out").exists()


def test_two_of_one_name_are_refused(folder, tmp_path):
    told = tokenize(folder, tmp_path / "out", against(folder), against(folder), expect=2).stderr
    assert "two files are called medqa_4options" in told
