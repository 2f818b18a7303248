"""T14: markers planted in every kind of input text; no verb says or writes them, in good runs and in bad ones, but where text belongs."""

import json
import os
import random
import signal
import subprocess
import time

import pytest

import exam_files
import osler_run
from osler_run import run

MARK = "zqmarkerqz"  # in documents, turns of chats, questions, options, responses
TEXT_FILES = ("samples_",)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return exam_files.make_model(tmp_path_factory.mktemp("model"))


def leaks(folder):
    needle = MARK.encode()
    return [str(path) for path in folder.rglob("*") if path.is_file() and not path.name.startswith(TEXT_FILES)
            and not ("journal-" in str(path) and path.suffix == ".jsonl") and needle in path.read_bytes().lower()]


def silent(args, out, expect, ranks=1, env=None):
    result = run(args, ranks=ranks, expect=expect, env=env)
    assert MARK not in (result.stdout + result.stderr).lower(), result.stderr
    assert leaks(out) == []
    return result


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def exam(path, count=6):
    records = exam_files.medqa_records(random.Random(5), count)
    for record in records:
        record["question"] = f"{MARK} {record['question']}"
        record["options"] = {letter: f"{text} {MARK}{letter}" for letter, text in record["options"].items()}
        record["answer"] = record["options"][record["answer_idx"]]
    return exam_files.write_lines(path, records)


@pytest.fixture(scope="module")
def inputs(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    rng = random.Random(6)
    write_lines(folder / "notes.jsonl", [{"text": f"{MARK} {exam_files.stem(rng, 4)}"} for _ in range(80)])
    write_lines(folder / "chat.jsonl", [{"messages": [{"role": "user", "content": f"{MARK} {exam_files.stem(rng, 1)}"},
                                                      {"role": "assistant", "content": f"{MARK} {exam_files.stem(rng, 1)}"}]} for _ in range(60)])
    exam(folder / "exam.jsonl")
    exam(folder / "train.jsonl", 8)
    return folder


def test_fine_tuning_says_nothing(model, inputs, tmp_path):
    out = tmp_path / "out"
    bad = tmp_path / "bad.jsonl"
    bad.write_text((inputs / "chat.jsonl").read_text() + json.dumps({"messages": [{"role": MARK, "content": MARK}]}) + "\n"
                   + json.dumps({"messages": [{"role": "user", "content": MARK}]}) + "\n" + f'{{"messages": "{MARK}"}}\n')
    silent(["tokenize", "--tokenize.format=chat", f"--tokenize.input=chat:{bad}", f"--tokenize.tokenizer={model}",
            f"--tokenize.output={out / 'tokens'}"], out, 0)
    assert json.loads((out / "tokens" / "tokenize.json").read_text())["num_problems"] == 3
    tune = ["finetune", f"--model.from={model}", f"--data.source=chat:1:{out / 'tokens' / 'chat'}", "--data.global_batch=4", "--parallel.dtype=fp32", "--neftune.alpha=5", "--run.log_every=1", "--data.epochs=1"]
    silent([*tune, f"--run.dir={out / 'run'}", "--data.sequence_length=256", f"--run.trace={out / 'trace' / 't'}"], out, 0)
    silent([*tune, f"--run.dir={out / 'short'}", "--data.sequence_length=8"], out, 3)
    silent(["inspect", out / "tokens", "--verify"], out, 0)
    silent(["inspect", out / "run", "--verify"], out, 0)


ASK = {"cot": ["--eval.strategy=cot"], "votes": ["--eval.strategy=cot-sc", "--eval.samples=2"],
       "medprompt": ["--eval.strategy=medprompt", "--eval.shots=1", "--eval.samples=2", "--eval.medprompt_candidates=2", "--eval.medprompt_tries=1"]}


def evaluate(model, inputs, output, *more, max_new_tokens=12):
    return ["evaluate", f"--eval.model={model}", f"--eval.task=medqa_4options:{inputs / 'exam.jsonl'}", f"--eval.output={output}",
            f"--eval.train=medqa_4options:{inputs / 'train.jsonl'}", "--parallel.dtype=fp32", f"--eval.max_new_tokens={max_new_tokens}", *more]


@pytest.mark.parametrize("how", ASK)
def test_generated_answers_are_told_to_nobody(model, inputs, tmp_path, how):
    out = tmp_path / "out"
    silent(evaluate(model, inputs, out / "eval", *ASK[how]), out, 0, ranks=2 if how == "cot" else 1)
    silent(["inspect", out / "eval", "--verify"], out, 0)
    silent(["inspect", out / "eval" / "samples_medqa_4options.jsonl"], out, 0)
    rows = (out / "eval" / "samples_medqa_4options.jsonl").read_text()
    assert MARK in rows
    responses = tmp_path / "responses.jsonl"
    responses.write_text(rows.replace('"question_sha256"', '"question_sum"').replace('"resps":[', f'"resps":["{MARK}",', 1)[:-40])
    silent(["evaluate", f"--eval.responses=medqa_4options:{responses}", f"--eval.task=medqa_4options:{inputs / 'exam.jsonl'}",
            f"--eval.output={out / 'graded'}"], out, 3)


@pytest.mark.parametrize("name", ["USR1", "SEGV", "KILL"])
def test_an_evaluation_that_is_stopped_or_crashes_says_nothing(model, inputs, tmp_path, name):
    out = tmp_path / "out"
    process = osler_run.start(evaluate(model, inputs, out / "eval", "--eval.strategy=cot", "--eval.group_items=1", max_new_tokens=300))
    while not list(out.glob("eval/journal-*/rank_*.jsonl")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(getattr(signal, f"SIG{name}"))
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode != 0 or name == "USR1"
    assert MARK not in (stdout + stderr).lower()
    assert leaks(out) == []


@pytest.mark.parametrize("damage", ["damaged journal", "full disk", "no rights"])
def test_storage_errors_say_nothing(model, inputs, tmp_path, damage):
    out = tmp_path / "out"
    args = evaluate(model, inputs, out / "eval", "--eval.strategy=cot", "--eval.group_items=1", max_new_tokens=300)
    if damage == "no rights":
        out.mkdir()
        out.chmod(0o500)
        command = osler_run.command(args)
        if os.geteuid() == 0:
            command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
        result = subprocess.run(command, env=osler_run.environment(), capture_output=True, text=True, timeout=300)
        assert result.returncode == 5 and MARK not in result.stderr
        return
    if damage == "full disk":  # of 2000 bytes a file
        command = ["sh", "-c", 'trap "" XFSZ; ulimit -f 4; exec "$@"', "sh", *osler_run.command(args)]
        result = subprocess.run(command, env=osler_run.environment(), capture_output=True, text=True, timeout=300)
        assert result.returncode == 5 and MARK not in result.stderr, result.stderr
        assert leaks(out) == []
        return
    process = osler_run.start(args)
    while not any(path.stat().st_size > 1000 for path in out.glob("eval/journal-*/rank_*.jsonl")):
        assert process.poll() is None, process.stderr.read()
    process.kill()
    process.communicate()
    path = next(out.glob("eval/journal-*/rank_*.jsonl"))
    path.write_bytes(path.read_bytes().replace(MARK.encode(), MARK.upper().encode(), 1).replace(b"e", b"\xff", 1))
    told = silent(args, out, 0)
    assert "torn by a kill or damaged" in told.stderr
