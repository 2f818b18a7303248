"""`osler evaluate` driven as users drive it: every native file format, every kind of broken file, 1 to 3 ranks, and the
files it writes as other programs read them. (Log-likelihoods are compared with lm-eval in tests/parity.)"""

import csv
import json
import math
import pathlib
import random
import sys

import h5py
import pytest

import exam_files
from osler_run import run

ANALYSIS = pathlib.Path(__file__).resolve().parents[2] / "analysis"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return exam_files.make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """{task: path} with one file of each format."""
    root, rng = tmp_path_factory.mktemp("files"), random.Random(3)
    folder = root / "mmlu"
    folder.mkdir()
    for i, subject in enumerate(exam_files.MMLU_CLINICAL):
        name = f"{subject}_test.csv" if i % 2 else f"{subject}.csv"
        exam_files.write_mmlu(folder / name, exam_files.mmlu_rows(rng, 4), letters=i < 3, header=i % 3 == 0)
    pubmedqa = root / "ori_pqal.json"
    pubmedqa.write_text(json.dumps(exam_files.pubmedqa_records(rng, 6), indent=1))
    generic = [{"id": "a", "question": "Which?", "options": ["x", "y"], "answer": 1},
               {"id": "b", "question": "Which?", "options": {"A": "x", "B": "y", "C": "z"}, "answer": "C", "subject": "s"},
               {"id": 7, "question": "Which?", "options": ["two words", "y"], "answer": "two words", "context": "It is so.", "rationale": "r"}]
    return {
        "medqa_4options": exam_files.write_lines(root / "medqa4.jsonl", exam_files.medqa_records(rng, 7)),
        "medqa_5options": exam_files.write_lines(root / "medqa5.jsonl", exam_files.medqa_records(rng, 5, num_options=5)),
        "medmcqa": exam_files.write_lines(root / "medmcqa.json", exam_files.medmcqa_records(rng, 6)),
        "pubmedqa": pubmedqa,
        "mmlu_clinical": folder,
        "exam": exam_files.write_lines(root / "exam.jsonl", generic),
    }


def evaluate(model, tasks, output, *options, **how):
    return run(["evaluate", f"--eval.model={model}", *(f"--eval.task={name}:{path}" for name, path in tasks.items()),
                f"--eval.output={output}", "--parallel.dtype=fp32", *options], **how)


def samples(folder):
    return {path.name: [json.loads(line) for line in path.read_text().splitlines()] for path in sorted(folder.glob("samples_*.jsonl"))}


@pytest.fixture(scope="module")
def evaluated(model, files, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "eval"
    return output, evaluate(model, files, output)


def test_every_format_is_scored_and_every_file_written(evaluated, files):
    output, process = evaluated
    results = json.loads((output / "results.json").read_text())
    counts = {name: entry["sample_len"] for name, entry in results["results"].items()}
    assert counts == {"medqa_4options": 7, "medqa_5options": 5, "medmcqa": 6, "pubmedqa": 6, "exam": 3, "mmlu_clinical": 24, "multimedqa": 43,
                      **{f"mmlu_{subject}": 4 for subject in exam_files.MMLU_CLINICAL}}
    assert {path.name for path in output.iterdir()} == {"results.json", "scores.csv", "scores.h5",
                                                        *(f"samples_{name}.jsonl" for name in results["configs"])}
    assert "groups of items 11/11" in process.stderr
    lines = process.stdout.splitlines()
    assert lines[0].split() == ["task", "metric", "value", "stderr", "95", "%", "interval", "n", "unparsed"]
    assert len(lines) == 1 + len(list(csv.DictReader((output / "scores.csv").open())))
    exam = samples(output)["samples_exam.jsonl"]
    assert [row["target"] for row in exam] == ["1", "2", "0"] and [row["id"] for row in exam] == ["a", "b", "7"]
    assert exam[2]["arguments"]["gen_args_1"] == {"arg_0": "Context: It is so.\nQuestion: Which?\nA. two words\nB. y\nAnswer:", "arg_1": " B"}
    assert exam[1]["doc"]["subject"] == "s"


def test_scores_follow_from_the_samples(evaluated):
    """Accuracy, standard error and interval, recomputed from the rows; csv and h5 hold the same table."""
    output, _ = evaluated
    rows = list(csv.DictReader((output / "scores.csv").open()))
    with h5py.File(output / "scores.h5") as table:
        assert table.attrs["schema_version"] == 1 and table.attrs["num_rows"] == len(rows)
        assert table.attrs["columns"].decode().split(",") == list(rows[0])
        for name in rows[0]:
            column = table[name][()]
            column = json.loads(column) if isinstance(column, bytes) else column
            for row, value in zip(rows, column, strict=True):
                assert row[name] == value if isinstance(value, str) else float(row[name] or "nan") == pytest.approx(value, nan_ok=True), name
    for row in rows:
        path = output / f"samples_{row['task']}.jsonl"
        if not path.exists():
            continue
        values = [json.loads(line)[row["metric"]] for line in path.read_text().splitlines()]
        n, mean = len(values), sum(values) / len(values)
        spread = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1) / n)
        z = 1.959963984540054
        centre, half = (mean + z * z / 2 / n) / (1 + z * z / n), z / (1 + z * z / n) * math.sqrt(mean * (1 - mean) / n + z * z / 4 / n / n)
        found = [float(row[key]) for key in ("value", "stderr", "ci_low", "ci_high")]
        assert found == pytest.approx([mean, spread, max(0, centre - half), min(1, centre + half)], abs=1e-9)
        assert int(row["n"]) == n and row["unparsed"] == "0" and row["strategy"] == "zero-shot" and len(row["config_hash"]) == 64


def test_results_load_in_lm_evals_table_maker(evaluated):
    utils = pytest.importorskip("lm_eval.utils")
    results = json.loads((evaluated[0] / "results.json").read_text())
    table, groups = utils.make_table(results), utils.make_table(results, "groups")
    for name in results["results"]:
        assert name in table
    assert "mmlu_clinical" in groups and "multimedqa" in groups and "medmcqa" not in groups


def test_analysis_reads_the_tables(evaluated):
    sys.path.insert(0, str(ANALYSIS))
    import read_tables

    from_csv, from_h5 = (read_tables.read_scores(evaluated[0] / name) for name in ("scores.csv", "scores.h5"))
    assert list(from_csv["value"]) == pytest.approx(list(from_h5["value"])) and list(from_csv["task"]) == list(from_h5["task"])
    read_tables.read_evaluation(evaluated[0])   # recomputes every value from the samples


@pytest.mark.parametrize("ranks", [2, 3])
def test_any_number_of_ranks_gives_the_same_results(evaluated, model, files, tmp_path, ranks):
    evaluate(model, files, tmp_path / "eval", ranks=ranks)
    one, many = samples(evaluated[0]), samples(tmp_path / "eval")
    assert one.keys() == many.keys()
    for name in one:
        for a, b in zip(one[name], many[name], strict=True):
            assert a == b   # to the last bit: what goes through the model together does not depend on ranks


def test_a_checkpoint_scores_as_the_weights_it_came_from(evaluated, model, files, tmp_path):
    run(["convert", f"--input={model}", f"--output={tmp_path / 'run' / 'checkpoints' / 'step_000000007'}"])
    for i, path in enumerate((tmp_path / "run" / "checkpoints" / "step_000000007", tmp_path / "run")):
        evaluate(path, files, tmp_path / f"eval{i}")
        assert samples(tmp_path / f"eval{i}") == samples(evaluated[0])


def test_more_ranks_than_items(model, files, tmp_path):
    evaluate(model, {"exam": files["exam"]}, tmp_path / "eval", "--eval.limit=2", ranks=3)
    results = json.loads((tmp_path / "eval" / "results.json").read_text())
    assert results["n-samples"]["exam"] == {"original": 3, "effective": 2}


def test_batch_size_and_repetition_change_nothing(evaluated, model, files, tmp_path):
    for batch_tokens in (1, 300):
        evaluate(model, files, tmp_path / "eval", f"--eval.batch_tokens={batch_tokens}")   # the second run replaces the first
        for name, rows in samples(tmp_path / "eval").items():
            for a, b in zip(samples(evaluated[0])[name], rows, strict=True):
                assert a["prediction"] == b["prediction"]
                assert [float(ll) for ll, _ in a["filtered_resps"]] == pytest.approx([float(ll) for ll, _ in b["filtered_resps"]], abs=1e-4)


GOOD_MEDQA = '{"question": "Q?", "answer": "x", "options": {"A": "x", "B": "y", "C": "z", "D": "w"}, "answer_idx": "A"}\n'
GOOD_GENERIC = '{"id": 1, "question": "Q?", "options": ["x", "y"], "answer": 0}\n'
GOOD_MEDMCQA = '{"question": "Q?", "opa": "x", "opb": "y", "opc": "z", "opd": "w", "cop": 0}\n'
GOOD_PUBMEDQA = '{"1": {"QUESTION": "Q?", "CONTEXTS": ["c"], "final_decision": "yes"},\n'

# name -> (task, content, line, words of the message)
BROKEN = {
    "empty file": ("medqa_4options", "", 1, "no question"),
    "blank lines only": ("medqa_4options", "\n \n", 1, "no question"),
    "not JSON": ("medqa_4options", GOOD_MEDQA + "{oops}\n", 2, "not valid JSON"),
    "cut in the middle": ("medqa_4options", GOOD_MEDQA + GOOD_MEDQA[:40], 2, "not valid JSON"),
    "not an object": ("medqa_4options", GOOD_MEDQA + "[1]\n", 2, "object is expected"),
    "not UTF-8": ("medqa_4options", GOOD_MEDQA.encode() + b'{"question": "\xff"}\n', 2, "UTF-8"),
    "field missing": ("medqa_4options", GOOD_MEDQA.replace("answer_idx", "answer_index"), 1, '"answer_idx" is missing'),
    "blank question": ("medqa_4options", GOOD_MEDQA.replace("Q?", " "), 1, "blank"),
    "five options where four belong": ("medqa_4options", GOOD_MEDQA.replace('"D": "w"', '"D": "w", "E": "v"'), 1, "5 options"),
    "four options where five belong": ("medqa_5options", GOOD_MEDQA, 1, "4 options"),
    "gap in the letters": ("medqa_4options", GOOD_MEDQA.replace('"C"', '"E"'), 1, "C is missing"),
    "letter beyond the options": ("medqa_4options", GOOD_MEDQA.replace('"answer_idx": "A"', '"answer_idx": "E"'), 1, "one of A to D"),
    "answer text of another option": ("medqa_4options", GOOD_MEDQA.replace('"answer_idx": "A"', '"answer_idx": "B"'), 1, "not the text of option B"),
    "option is a number": ("medqa_4options", GOOD_MEDQA.replace('"B": "y"', '"B": 5'), 1, "must be a string"),
    "key twice": ("medqa_4options", GOOD_MEDQA.replace('"answer": "x"', '"question": "x"'), 1, "stands twice"),
    "nested too deep": ("medqa_4options", GOOD_MEDQA[:-2] + ', "more": ' + "[" * 5000 + "]" * 5000 + "}\n", 1, "nested"),
    "MedMCQA test split": ("medmcqa", GOOD_MEDMCQA + GOOD_MEDMCQA.replace('"cop": 0', '"cop": -1'), 2, "no answers"),
    "MedMCQA counts both ways": ("medmcqa", GOOD_MEDMCQA + GOOD_MEDMCQA.replace('"cop": 0', '"cop": 4'), 2, "counts from 0"),
    "MedMCQA counts unknown": ("medmcqa", GOOD_MEDMCQA.replace('"cop": 0', '"cop": 2'), 1, "never 0 and never 4"),
    "MedMCQA option missing": ("medmcqa", GOOD_MEDMCQA + GOOD_MEDMCQA.replace('"opc"', '"opx"'), 2, '"opc" is missing'),
    "PubMedQA list": ("pubmedqa", "[]", 1, "one JSON object"),
    "PubMedQA decision": ("pubmedqa", GOOD_PUBMEDQA + '"2": {"QUESTION": "Q?", "CONTEXTS": ["c"], "final_decision": "perhaps"}}', 2, "yes, no or maybe"),
    "PubMedQA contexts": ("pubmedqa", GOOD_PUBMEDQA + '"2": {"QUESTION": "Q?", "CONTEXTS": "c", "final_decision": "yes"}}', 2, "list of strings"),
    "PubMedQA id twice": ("pubmedqa", GOOD_PUBMEDQA + '"1": {"QUESTION": "Q?", "CONTEXTS": ["c"], "final_decision": "yes"}}', 2, "stands twice"),
    "PubMedQA cut": ("pubmedqa", GOOD_PUBMEDQA + '"2": {"QUESTION"', 2, "not valid JSON"),
    "MMLU five columns": ("mmlu_anatomy", "Q?,a,b,c,d,A\nQ?,a,b,c,A\n", 2, "5 columns"),
    "MMLU quote never closed": ("mmlu_anatomy", 'Q?,a,b,c,d,A\n"Q?,a,b,c,d,A\n', 2, "never closed"),
    "MMLU quote in a field": ("mmlu_anatomy", 'Q?,a,b"c,c,d,A\n', 1, "a quote inside"),
    "MMLU answer": ("mmlu_anatomy", "Q?,a,b,c,d,A\nQ?,a,b,c,d,E\n", 2, "A to D is expected"),
    "MMLU letters and numbers": ("mmlu_anatomy", "Q?,a,b,c,d,0\nQ?,a,b,c,d,B\n", 2, "0 to 3 is expected"),
    "MMLU header only": ("mmlu_anatomy", "question,A,B,C,D,answer\n", 1, "no question"),
    "generic without id": ("exam", GOOD_GENERIC.replace('"id"', '"name"'), 1, '"id" is missing'),
    "generic id twice": ("exam", GOOD_GENERIC + "\n" + GOOD_GENERIC, 3, "already on line 1"),
    "generic one option": ("exam", GOOD_GENERIC.replace('["x", "y"]', '["x"]'), 1, "1 options"),
    "generic index": ("exam", GOOD_GENERIC.replace('"answer": 0', '"answer": 2'), 1, "indices count from 0"),
    "generic answer": ("exam", GOOD_GENERIC.replace('"answer": 0', '"answer": "z"'), 1, "neither a letter"),
    "generic answer is two things": ("exam", GOOD_GENERIC.replace('["x", "y"]', '["B", "y"]').replace('"answer": 0', '"answer": "B"'), 1, "give its index"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_by_file_and_line(model, tmp_path, case):
    task, content, line, words = BROKEN[case]
    path = tmp_path / "broken"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    process = evaluate(model, {task: path}, tmp_path / "eval", expect=3)
    assert f"{path}:{line}: " in process.stderr and words in process.stderr, process.stderr
    assert not (tmp_path / "eval" / "results.json").exists() and not process.stdout


REFUSED = {
    "file missing": ({"medqa_4options": "/nowhere/medqa.jsonl"}, [], 3, "not found"),
    "folder for a file": ({"medqa_4options": "/"}, [], 3, "not a file"),
    "group without its files": ({"mmlu_clinical": "/nowhere"}, [], 3, "anatomy.csv"),
    "unknown subject": ({"mmlu_anatomie": "x.csv"}, [], 2, "57 subjects"),
    "multimedqa as one file": ({"multimedqa": "x"}, [], 2, "one by one"),
    "name that is a path": ({"../exam": "x"}, [], 2, "is not NAME:PATH"),
    "likelihood of a generated answer": ({"exam": "x"}, ["--eval.strategy=cot", "--eval.answer=likelihood"], 2, "cot reads generated text"),
    "shots without a training split": ({"exam": "x"}, ["--eval.strategy=few-shot"], 2, "eval.train"),
    "unknown prompt": ({"exam": "/"}, ["--eval.prompt=lm_eval"], 2, "is no built-in prompt"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("ranks", [1, 2])
def test_what_cannot_be_is_refused_once_on_all_ranks(model, tmp_path, case, ranks):
    tasks, options, code, words = REFUSED[case]
    process = evaluate(model, tasks, tmp_path / "eval", *options, expect=code, ranks=ranks)
    assert process.stderr.count(words) == 1, process.stderr


def test_an_output_that_cannot_be_written_is_refused_before_any_work(model, files, tmp_path):
    (tmp_path / "taken").write_text("a file")
    process = evaluate(model, {"exam": files["exam"]}, tmp_path / "taken" / "eval", expect=5, ranks=2)
    assert "taken" in process.stderr and "groups of items" not in process.stderr


def test_a_model_must_be_whole(model, files, tmp_path):
    process = evaluate("/nowhere", {"exam": files["exam"]}, tmp_path / "eval", expect=3)
    assert "/nowhere" in process.stderr
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "model.safetensors"):
        (bare / name).write_bytes((model / name).read_bytes())
    process = evaluate(bare, {"exam": files["exam"]}, tmp_path / "eval", expect=3)
    assert "tokenizer" in process.stderr


def test_a_blank_option_cannot_be_scored_by_its_text(model, tmp_path):
    path = tmp_path / "exam.jsonl"
    path.write_text(GOOD_GENERIC.replace('"y"', '" "'))
    evaluate(model, {"exam": path}, tmp_path / "letter")
    process = evaluate(model, {"exam": path}, tmp_path / "text", "--eval.scoring=text", expect=3)
    assert f"{path}:1: an option is blank" in process.stderr


def test_weights_that_are_not_finite_stop_with_the_item(files, tmp_path):
    import safetensors.torch

    model = exam_files.make_model(tmp_path / "model")
    weights = safetensors.torch.load_file(model / "model.safetensors")
    weights["lm_head.weight"].fill_(float("nan"))
    safetensors.torch.save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    process = evaluate(model, {"exam": files["exam"]}, tmp_path / "eval", expect=6, ranks=2)
    assert "exam" in process.stderr and "not finite" in process.stderr
    assert not (tmp_path / "eval" / "results.json").exists()


def test_dry_run_counts_and_writes_nothing(model, files, tmp_path):
    process = evaluate(model, files, tmp_path / "eval", "--dry-run")
    assert "task  medqa_5options: 5 of 5 items" in process.stdout
    assert not (tmp_path / "eval" / "results.json").exists()
