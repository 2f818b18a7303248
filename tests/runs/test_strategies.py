"""Prompt strategies, driven as users drive them: what a model that always says the same gives by hand, kills and stops at any
moment, other numbers of ranks, recorded responses, and contamination reports."""

import csv
import hashlib
import json
import random
import shutil
import signal
import time

import pytest

import exam_files
from osler_run import kill_tree, run, start

SAYS = " the liver. Answer is B"


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("bench"), random.Random(11)
    test, train = exam_files.medqa_records(rng, 14), exam_files.medqa_records(rng, 24)
    train[5] = test[3]      # a question that stands in both must not become an exemplar
    return {"root": root, "test": exam_files.write_lines(root / "test.jsonl", test), "train": exam_files.write_lines(root / "train.jsonl", train),
            "items": test, "exemplars": train, "random": exam_files.make_model(root / "random", max_position_embeddings=2048),
            "mixture": exam_files.make_model(root / "mixture", mixture=True, max_position_embeddings=2048),
            "parrot": exam_files.make_parrot(root / "parrot", "Reasoning:", SAYS)}


def arguments(bench, output, strategy, *options, model="random", max_new_tokens=24, group_items=2):
    return ["evaluate", f"--eval.model={bench[model]}", f"--eval.task=medqa_4options:{bench['test']}", f"--eval.train=medqa_4options:{bench['train']}",
            f"--eval.strategy={strategy}", f"--eval.output={output}", "--parallel.dtype=fp32", f"--eval.max_new_tokens={max_new_tokens}",
            f"--eval.group_items={group_items}", *options]


def rows(folder):
    return [json.loads(line) for line in (folder / "samples_medqa_4options.jsonl").read_text().splitlines()]


def files(folder):
    """What must be equal byte for byte: everything but times."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name == "results.json":
            results = json.loads(path.read_text())
            for key in ("date", "total_evaluation_time_seconds"):
                del results[key]
            del results["osler"]["started"], results["config"]["model_num_ranks"]
            del results["osler"]["files"], results["osler"]["sha256"]  # sums of the times too
            found[path.name] = results
        elif path.name == "scores.csv":
            found[path.name] = [row | {"date": None} for row in csv.DictReader(path.open())]
        elif path.name != "scores.h5":      # the same table as scores.csv
            found[path.name] = path.read_bytes()
    return found


def test_a_model_that_always_says_b(bench, tmp_path):
    """Chain of thought: every answer is read; MedPrompt: exemplars whose gold is B, votes mapped back, the winner by hand."""
    process = run(arguments(bench, tmp_path / "cot", "cot", model="parrot"))
    for row, item in zip(rows(tmp_path / "cot"), bench["items"], strict=True):
        assert row["resps"] == [[SAYS.strip()]] and row["prediction"] == "B" and row["filtered_resps"] == ["B"]
        assert row["acc"] == (item["answer_idx"] == "B") and row["votes"][0]["finish"] == "eos" and -1 < row["votes"][0]["log_prob"] <= 0
    assert " 0\n" in process.stdout
    run(arguments(bench, tmp_path / "medprompt", "medprompt", "--eval.shots=2", model="parrot"), ranks=2)
    evaluated = {hashlib.sha256(item["question"].encode()).hexdigest() for item in bench["items"]}
    gold_b = {hashlib.sha256(item["question"].encode()).hexdigest() for item in bench["exemplars"] if item["answer_idx"] == "B"} - evaluated
    assert len(gold_b) >= 2
    for row in rows(tmp_path / "medprompt"):
        assert {exemplar["question_sha256"] for exemplar in row["exemplars"]} <= gold_b and len(row["exemplars"]) == 2
        assert all(exemplar["rationale"] == "the liver." for exemplar in row["exemplars"])
        assert row["votes"][0]["order"] == [0, 1, 2, 3] and len({tuple(vote["order"]) for vote in row["votes"]}) == 5
        counts = [0] * 4
        for vote, argument in zip(row["votes"], row["arguments"].values(), strict=True):
            assert vote["answer"] == "B" and vote["option"] == vote["letters"]["B"] == "ABCD"[vote["order"][1]]
            counts["ABCD".index(vote["option"])] += 1
            shown = [row["doc"]["options"]["ABCD"[i]] for i in vote["order"]]
            assert argument["arg_0"].endswith("".join(f"{name}. {text}\n" for name, text in zip("ABCD", shown)) + argument["arg_0"].splitlines()[-2]
                                              + "\nReasoning:")
        assert counts == row["num_votes"]
        best = [i for i in range(4) if counts[i] == max(counts)]
        sums = [sum(vote["log_prob"] for vote in row["votes"] if vote["option"] == "ABCD"[i]) for i in best]
        assert row["prediction"] == "ABCD"[best[max(range(len(best)), key=lambda i: (sums[i], -i))]] and row["tied"] == (len(best) > 1)


STRATEGIES = {
    "few-shot": ["--eval.shots=3"],
    "cot-sc": ["--eval.samples=3"],
    "medprompt": ["--eval.shots=2", "--eval.medprompt_candidates=4", "--eval.samples=3"],
}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_killed_at_any_moment_and_gone_on_by_other_ranks_it_gives_the_same_files(bench, tmp_path, strategy):
    output = tmp_path / "eval"
    command = arguments(bench, output, strategy, *STRATEGIES[strategy], model="parrot" if strategy == "medprompt" else "random")
    run(command)
    whole = files(output)
    again = run(command)
    assert "finished; nothing to do" in again.stderr and files(output) == whole
    shutil.rmtree(output)
    for ranks, wanted in ((2, 2), (1, 5), (3, 9)):
        process = start(command, ranks=ranks)
        while process.poll() is None:
            if sum(path.read_bytes().count(b"\n") for path in output.glob("journal-*/*.jsonl")) >= wanted:
                kill_tree(process)
                break
            time.sleep(0.002)
        process.communicate()
    run(command, ranks=2)
    assert files(output) == whole


def test_a_signal_stops_between_groups_with_75(bench, tmp_path):
    output = tmp_path / "eval"
    command = arguments(bench, output, "cot-sc", "--eval.samples=8", max_new_tokens=200, group_items=1)
    process = start(command)
    while process.poll() is None and not list(output.glob("journal-*/*.jsonl")):
        time.sleep(0.002)
    process.send_signal(signal.SIGUSR1)
    _, stderr = process.communicate()
    assert process.returncode == 75 and "the same command goes on" in stderr, stderr
    assert not (output / "results.json").exists()
    run(command)
    assert len(rows(output)) == 14 and not list(output.glob("journal-*"))


@pytest.mark.parametrize("strategy", ["cot", "zero-shot"])
def test_layouts_answer_alike(bench, tmp_path, strategy):
    """Heads over tp, experts over ep, items over what is left; 5 items leave ranks without work."""
    layouts = {"random": [(1, 1, 1), (2, 2, 1)], "mixture": [(1, 1, 1), (2, 1, 2), (4, 2, 4), (3, 1, 1)]}
    for model, shapes in layouts.items():
        found = []
        for ranks, tp, ep in shapes:
            output = tmp_path / f"{model}-{ranks}-{tp}-{ep}"
            run(arguments(bench, output, strategy, f"--parallel.tp={tp}", f"--parallel.ep={ep}", "--eval.limit=5", model=model), ranks=ranks)
            found.append(rows(output))
        for other in found[1:]:
            assert [row["prediction"] for row in other] == [row["prediction"] for row in found[0]]
            if strategy == "cot":
                assert [row["resps"] for row in other] == [row["resps"] for row in found[0]]


def test_recorded_responses_are_graded_without_a_model(bench, tmp_path):
    texts = [["Answer: B"], ["A or B"], ["x\nAnswer: C", "D", "The answer is C."]] + [["I cannot say."]] * 11
    recorded = exam_files.write_lines(tmp_path / "recorded.jsonl", [{"doc_id": i, "resps": [text]} for i, text in enumerate(texts)])
    report = exam_files.write_lines(tmp_path / "contamination_medqa.jsonl", [
        {"item": i, "id": str(i), "line": i + 1, "question_sha256": hashlib.sha256(bench["items"][i]["question"].encode()).hexdigest(),
         "ngram_hits": 3, "question_hit": True, "documents": 1} for i in (0, 5)])
    command = ["evaluate", f"--eval.task=medqa_4options:{bench['test']}", f"--eval.responses=medqa_4options:{recorded}", "--eval.strategy=cot-sc",
               f"--eval.output={tmp_path / 'eval'}", f"--eval.contamination=medqa_4options:{report}"]
    run(command)
    found = rows(tmp_path / "eval")
    assert [row["prediction"] for row in found] == ["B", None, "C"] + [None] * 11
    table = {row["subset"]: row for row in csv.DictReader((tmp_path / "eval" / "scores.csv").open())}
    assert {name: int(row["n"]) for name, row in table.items()} == {"all": 14, "clean": 12, "touched": 2}
    assert int(table["all"]["unparsed"]) == 12 and table["all"]["strategy"] == "cot-sc" and table["all"]["scoring"] == "generation"
    # What was written can be graded again.
    again = [part.replace(str(recorded), str(tmp_path / "eval" / "samples_medqa_4options.jsonl")).replace(f"{tmp_path / 'eval'}", f"{tmp_path / 'again'}")
             if part.startswith("--eval.output") else part.replace(str(recorded), str(tmp_path / "eval" / "samples_medqa_4options.jsonl")) for part in command]
    run(again)
    assert [row["votes"] for row in rows(tmp_path / "again")] == [row["votes"] for row in found]
    for broken, words in (([{"doc_id": 0, "resps": [["A"]]}], "no row for item 1"), ([{"doc_id": 99, "resps": ["A"]}], "doc_id"),
                          ([{"doc_id": 0, "resps": [["A"]], "question_sha256": "0" * 64}], "another question")):
        path = exam_files.write_lines(tmp_path / "broken.jsonl", broken)
        process = run([part.replace(str(recorded), str(path)).replace("/eval", "/broken") for part in command], expect=3)
        assert words in process.stderr and str(path) in process.stderr
    wrong = exam_files.write_lines(tmp_path / "wrong.jsonl", [{"item": 1, "question_sha256": "0" * 64}])
    assert "another file" in run([part.replace(str(report), str(wrong)) for part in command], expect=3).stderr


def test_a_chat_template_puts_the_prompt_as_a_turn(bench, tmp_path):
    for name, template in (("bare", "none"), ("chat", "mistral-v1")):
        run(arguments(bench, tmp_path / name, "zero-shot", f"--eval.template={template}"))
    bare, chat = rows(tmp_path / "bare"), rows(tmp_path / "chat")
    assert [row["arguments"] for row in bare] == [row["arguments"] for row in chat]
    assert all(one["resps"] != two["resps"] for one, two in zip(bare, chat))


def test_messages_hold_no_benchmark_text(bench, tmp_path):
    secret = "Zebrafish pancreas"
    record = {"question": f"{secret}?", "answer": "x", "options": {"A": secret, "B": "y", "C": "z", "D": "w"}, "answer_idx": secret}
    path = exam_files.write_lines(tmp_path / "secret.jsonl", [record])
    process = run(["evaluate", f"--eval.model={bench['random']}", f"--eval.task=medqa_4options:{path}", f"--eval.output={tmp_path / 'eval'}"], expect=3)
    assert secret not in process.stderr + process.stdout and f"{path}:1" in process.stderr
