"""No training or benchmark text in what is printed or written, but in token shards and samples; and likely identifiers
counted and masked."""

import json
import random

import h5py
import pytest

import exam_files
from osler_run import run

CANARY = "qzxcanary"  # in every text below; never in what is told
NOTE = f"Dr. {CANARY.title()} saw {CANARY} on 3/5/2024, MRN 00123456; call 415-555-2671 or {CANARY}@{CANARY}.org, 123-45-6789."
FOUND = {"date": 1, "phone": 1, "record": 1, "email": 1, "id": 1, "name": 1}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return exam_files.make_model(tmp_path_factory.mktemp("model"))


def leaks(folder):
    """Files below that hold the canary, but those that are for text."""
    needle = CANARY.encode()
    return [str(path) for path in folder.rglob("*") if path.is_file() and not path.name.startswith("samples_")
            and needle in path.read_bytes().lower()]


def quiet(args, expect, folder, **how):
    result = run([*args], expect=expect, **how)
    said = (result.stdout + result.stderr).lower()
    assert CANARY not in said, said
    assert leaks(folder) == []
    return result


def tokenize_args(model, source, output, *more):
    return ["tokenize", f"--tokenize.input=notes:{source}", f"--tokenize.tokenizer={model}", f"--tokenize.output={output}", *more]


def write_jsonl(path, texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


HOSTILE = {
    "bad_utf8": f'{{"text": "{CANARY} '.encode() + b'\xff"}\n',
    "bad_json": f'{{"text": "{CANARY}", {CANARY}}}\n'.encode(),
    "twice": f'{{"{CANARY}": 1, "{CANARY}": 2, "text": "{CANARY}"}}\n'.encode(),
    "missing": f'{{"{CANARY}": "{CANARY}"}}\n'.encode(),
    "not_text": f'{{"text": ["{CANARY}"]}}\n'.encode(),
    "deep": (f'{{"text": "{CANARY}", "x": ' + "[" * 100 + "]" * 100 + "}\n").encode(),
    "torn": f'{{"text": "{CANARY}'.encode(),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("mode", ["skip", "stop"])
def test_bad_records_are_not_quoted(model, tmp_path, case, mode):
    corpora, output = tmp_path / "corpora", tmp_path / "out"
    corpora.mkdir()
    (corpora / "c.jsonl").write_bytes(b'{"text": "fine"}\n' + HOSTILE[case])
    args = tokenize_args(model, corpora / "c.jsonl", output, f"--tokenize.bad_records={mode}")
    told = quiet(args, 3 if mode == "stop" else 0, output)
    assert "c.jsonl:2" in told.stderr


@pytest.mark.parametrize("content", [f'{{"question": "{CANARY}"', f'{{"question": "{CANARY}", "options": ["{CANARY}"], "answer": "{CANARY}"}}',
                                     f'{CANARY}', f'{{"question": "{CANARY}", "options": {{"A": "{CANARY}", "B": "x"}}, "answer": "{CANARY}?"}}'])
def test_bad_benchmarks_are_not_quoted(model, tmp_path, content):
    (tmp_path / "in").mkdir()
    corpus = write_jsonl(tmp_path / "in" / "c.jsonl", ["fine"])
    (tmp_path / "in" / "exam.jsonl").write_text(content + "\n")
    quiet(tokenize_args(model, corpus, tmp_path / "out", f"--tokenize.decontaminate={tmp_path / 'in' / 'exam.jsonl'}"), 3, tmp_path / "out")
    quiet(["evaluate", f"--eval.model={model}", f"--eval.task=exam:{tmp_path / 'in' / 'exam.jsonl'}", f"--eval.output={tmp_path / 'eval'}",
           "--parallel.dtype=fp32"], 3, tmp_path / "eval")


def test_a_whole_way_is_silent(model, tmp_path):
    inputs = tmp_path / "in"
    inputs.mkdir()
    rng = random.Random(5)
    records = exam_files.medqa_records(rng, 4)
    for record in records:
        record["question"] = f"{CANARY} " + record["question"]
    exam = exam_files.write_lines(inputs / "exam.jsonl", records)
    texts = [f"{CANARY} {exam_files.stem(rng, 3)}" for _ in range(60)] + [records[0]["question"]] * 2
    corpus = write_jsonl(inputs / "c.jsonl", texts)
    out = tmp_path / "out"
    out.mkdir()
    quiet(tokenize_args(model, corpus, out / "tokens", f"--tokenize.decontaminate=medqa_4options:{exam}", "--tokenize.identifiers=count"), 0, out)
    assert (out / "tokens" / "contamination_medqa_4options.jsonl").read_text().count("\n") >= 1
    quiet(["inspect", out / "tokens"], 0, out)
    pretrain = ["pretrain", f"--run.dir={out / 'run'}", f"--run.trace={out / 'trace'}", "--run.steps=3", "--run.log_every=1", f"--model.from={model}",
                f"--data.source=notes:1:{out / 'tokens' / 'notes'}", "--data.sequence_length=32", "--data.global_batch=4",
                "--parallel.dtype=fp32", "--checkpoint.interval_steps=2"]
    quiet(pretrain, 0, out)
    diverging = [arg for arg in pretrain if not arg.startswith("--run.dir")]
    told = quiet([*diverging, f"--run.dir={out / 'nan'}", "--optim.learning_rate=1e30", "--optim.warmup_steps=0"], 0, out)
    assert "not finite" in told.stderr
    quiet(["evaluate", f"--eval.model={out / 'run'}", f"--eval.task=medqa_4options:{exam}", f"--eval.output={out / 'eval'}", "--parallel.dtype=fp32"], 0, out)
    assert CANARY in (out / "eval" / "samples_medqa_4options.jsonl").read_text()


def tokens_of(folder):
    found = []
    for path in sorted(folder.rglob("*.h5")):
        with h5py.File(path) as file:
            found.append((file["tokens"][:].tolist(), file["doc_offsets"][:].tolist()))
    return found


def test_identifiers_are_counted_and_masked_before_all_else(model, tmp_path):
    masked_by_hand = f"Dr. [NAME] saw {CANARY} on [DATE], MRN [RECORD]; call [PHONE] or [EMAIL], [ID]."
    notes = write_jsonl(tmp_path / "notes.jsonl", [NOTE, NOTE.replace("3/5/2024", "4/6/2023"), "plain"])
    clean = write_jsonl(tmp_path / "clean.jsonl", [masked_by_hand, masked_by_hand, "plain"])
    reports = {}
    for what in ("off", "count", "mask"):
        run(tokenize_args(model, notes, tmp_path / what, f"--tokenize.identifiers={what}"))
        reports[what] = json.loads((tmp_path / what / "tokenize.json").read_text())
    run(tokenize_args(model, clean, tmp_path / "by_hand"))
    assert "identifiers" not in reports["off"]["sources"]["notes"]
    for what in ("count", "mask"):
        assert reports[what]["identifiers"] == what
        assert reports[what]["sources"]["notes"]["identifiers"] == {kind: 2 * n for kind, n in FOUND.items()}
    # Two notes that differ in what is masked only are duplicates once it is.
    assert reports["mask"]["sources"]["notes"]["dropped"] == {"duplicate": 1}
    assert tokens_of(tmp_path / "mask") == tokens_of(tmp_path / "by_hand")
    assert tokens_of(tmp_path / "count") == tokens_of(tmp_path / "off")
    run(tokenize_args(model, notes, tmp_path / "two", "--tokenize.identifiers=mask"), ranks=2)
    assert tokens_of(tmp_path / "two") == tokens_of(tmp_path / "mask")
    shard = next((tmp_path / "mask" / "notes").glob("*.h5"))
    assert "masked" in run(["inspect", shard]).stdout
