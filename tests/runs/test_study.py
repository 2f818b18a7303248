"""A whole study written here and drawn by analysis/study.py: plotted data, tables and words are what the items say."""

import csv
import json
import math
import pathlib
import re
import subprocess
import sys

import numpy
import pandas
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

ANALYSIS = pathlib.Path(__file__).resolve().parents[2] / "analysis"
sys.path.insert(0, str(ANALYSIS))

import draw_prompt  # noqa: E402
import figure1_training_loss  # noqa: E402
import figure2_accuracy_by_tokens  # noqa: E402
import figure3_medprompt_by_version  # noqa: E402
import study as study_script  # noqa: E402
import table_accuracy  # noqa: E402
import table_contribution  # noqa: E402
import table_setup  # noqa: E402
from read_config import parse_config  # noqa: E402
from read_tables import TableError, read_metrics  # noqa: E402
from result_tree import sample, write_evaluation, write_run  # noqa: E402
from study_tree import collect, named_tree  # noqa: E402
from versions import Version, method_of, method_rank, version_of  # noqa: E402

TASKS = {"medqa_4options": 200, "mmlu_anatomy": 40, "mmlu_college_medicine": 60}
GROUP = {"mmlu_clinical": ["mmlu_anatomy", "mmlu_college_medicine"]}
BILLION = 10 ** 9
VERSIONS = [(t, f, a) for t in (0, BILLION, 2 * BILLION) for f, a in ((0, 0.0), (1, 0.0), (1, 5.0))]
METHODS = ["zero-shot", "cot", "cot-sc", "medprompt"]


def share_right(tokens, fine_tuned, alpha, strategy):
    """What the study shows: everything adds to the share but NEFTune, which changes no answer."""
    return 0.25 + 0.10 * tokens / BILLION + 0.15 * fine_tuned + 0.05 * METHODS.index(strategy)


def item_values(tokens, fine_tuned, alpha, strategy):
    """Items have a fixed difficulty, so that versions are right on nested sets."""
    difficulty = {task: numpy.random.default_rng(len(task)).permutation(n) / n for task, n in TASKS.items()}
    return {task: [int(v < share_right(tokens, fine_tuned, alpha, strategy)) for v in values] for task, values in difficulty.items()}


def evaluation(root, tokens, fine_tuned, alpha, strategy, name="", **more):
    folder = root / f"t{tokens}_f{fine_tuned}_n{alpha:g}" / "eval" / (strategy + name)
    fields = {"sample_fields": {"resps": [["Thus the answer is A."]]}} if strategy != "zero-shot" else {}
    return write_evaluation(folder, item_values(tokens, fine_tuned, alpha, strategy), GROUP, model=f"runs/t{tokens}", tokens_seen=tokens, fine_tuned=fine_tuned,
                            neftune_alpha=alpha, strategy=strategy, **(fields | more))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    for version in VERSIONS:
        for strategy in METHODS:
            evaluation(root, *version, strategy)
    last = VERSIONS[-1]
    write_evaluation(root / "ablation", item_values(*last[:3], "zero-shot"), model="runs/last", tokens_seen=last[0], fine_tuned=1, neftune_alpha=5.0,
                     strategy="medprompt", ablation="no-knn", unparsed=3,
                     extra_rows=[([1, 0, 1, 1], {"task": "medqa_4options", "subset": "clean"}), ([0, 1], {"task": "medqa_4options", "subset": "touched"})])
    write_run(root / "continued")
    write_run(root / "tuned", sources=("chat",), done=False)
    return root


@pytest.fixture(scope="module")
def study(tree):
    return collect([("", tree)])


@pytest.fixture(scope="module")
def output(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("output")
    result = command("study.py", "--output", folder, "--show-prompts", "--item", "7", "--title", "A <study>", tree)
    assert result.returncode == 0, result.stderr
    return folder, result


def command(name, *arguments):
    return subprocess.run([sys.executable, ANALYSIS / name, *map(str, arguments)], capture_output=True, text=True, timeout=300)


@pytest.fixture
def study_command(capsys):
    """study.py in this process: importing everything takes longer than drawing."""
    def call(*arguments):
        code = study_script.main([str(argument) for argument in arguments])
        return code, capsys.readouterr().err
    return call


def test_names():
    assert [Version(t, bool(f), a).name for t, f, a in VERSIONS[3:6]] == ["P^1B", "P^1B+F", "P^1B+F+N(5)"]
    assert version_of({"tokens_seen": 1_500_000, "fine_tuned": 1, "neftune_alpha": 7.5}).name == "P^1.5M+F+N(7.5)"
    assert Version(0, False, 0.0).name == "P^0" and Version(5, True, 5.0).family == "P^t+F+N(5)"
    assert method_of({"strategy": "few-shot", "shots": 5}) == "few-shot (5)"
    assert method_of({"strategy": "zero-shot", "shots": 0, "scoring": "generation"}) == "zero-shot, generated"
    assert method_rank("zero-shot") < method_rank("zero-shot, generated") < method_rank("few-shot (5)")
    assert method_of({"strategy": "zero-shot", "shots": 0, "scoring": "letter"}) == "zero-shot"
    assert method_of({"strategy": "medprompt-no-knn-no-cot", "shots": 5}) == "MedPrompt", "what is left out is the row's ablation"
    assert named_tree("mixtral=a/b") == ("mixtral", "a/b") and named_tree("runs/x=1") == ("", "runs/x=1")


def test_config():
    assert parse_config("# x\n[a]\nb = 1\nb = 2\nc =\n\n[d]\n# default\nb = x = y\n", "f") == {"a.b": ["1", "2"], "a.c": [], "d.b": ["x = y"]}
    with pytest.raises(TableError, match="f:1"):
        parse_config("b = 1\n", "f")


def test_figure1_draws_the_logged_losses(tree):
    training, validation = read_metrics(tree / "continued" / "metrics.jsonl")
    curves = figure1_training_loss.loss_curves([("a", training, validation), ("b", training, validation)], "clinical", chain=True)
    assert [name for name, _, _ in curves] == ["a", "b"]
    assert list(curves[0][1]["loss"]) == list(training["loss/clinical"])
    assert list(curves[1][1]["tokens"]) == [40 * 1024 + 1024 * step for step in range(1, 41)]
    assert list(curves[1][2]["tokens"]) == [40 * 1024 + 1024 * step for step in (10, 20, 30, 40)]


def test_running_mean_keeps_a_straight_line():
    line = [3.0 - 0.1 * i for i in range(80)]
    assert list(figure1_training_loss.running_mean(pandas.Series(line), 9)) == pytest.approx(line)
    assert list(figure1_training_loss.running_mean(pandas.Series([5.0, 1.0, 5.0]), 9)) == [5.0, 1.0, 5.0], "too few rows to smooth"
    assert figure1_training_loss.running_mean(pandas.Series([0.0] * 40 + [9.0] + [0.0] * 39), 9)[44] == pytest.approx(1.0)


def test_figure2_draws_accuracy_of_every_version(study):
    assert study.main_task() == "medqa_4options"
    lines = figure2_accuracy_by_tokens.accuracy_by_tokens(study, "medqa_4options", "MedPrompt")[""]
    assert list(lines) == ["P^t", "P^t+F", "P^t+F+N(5)"]
    for (name, rows), (fine_tuned, alpha) in zip(lines.items(), ((0, 0.0), (1, 0.0), (1, 5.0))):
        assert list(rows["tokens_seen"]) == [0, BILLION, 2 * BILLION]
        for _, row in rows.iterrows():
            values = item_values(int(row["tokens_seen"]), fine_tuned, alpha, "medprompt")["medqa_4options"]
            assert math.isclose(row["value"], sum(values) / 200)
            assert numpy.allclose((row["ci_low"], row["ci_high"]), proportion_confint(sum(values), 200, method="wilson"))
    assert figure2_accuracy_by_tokens.default_method(study, "medqa_4options") == "zero-shot"
    axis, = figure2_accuracy_by_tokens.plot({"": lines}, "medqa_4options", "MedPrompt").axes
    assert drawn_points(axis) == [sorted(100 * rows["value"]) for rows in lines.values()]


def drawn_points(axis):
    """Heights of the markers of every line that is drawn, all of them within the axes and in print."""
    low, high = axis.get_ylim()
    left, right = axis.get_xlim()
    lines = [container[0] for container in axis.containers]
    for line in lines:
        assert all(low < y < high for y in line.get_ydata()) and all(left < x < right for x in line.get_xdata())
    return [sorted(line.get_ydata()) for line in lines]


def test_figure3_climbs_the_ladder(study):
    steps, by_method = figure3_medprompt_by_version.accuracy_by_version(study, "mmlu_clinical")[""]
    assert [(step, version.name) for step, version in steps] == [("base", "P^0"), ("+ CPT", "P^2B"), ("+ fine-tuning", "P^2B+F"), ("+ NEFTune", "P^2B+F+N(5)")]
    assert list(by_method) == ["zero-shot", "CoT", "CoT self-consistency", "MedPrompt"]
    for method, strategy in zip(by_method, METHODS):
        for value, version in zip(by_method[method]["value"], ((0, 0, 0.0), *VERSIONS[6:])):
            values = item_values(*version, strategy)
            assert math.isclose(value, sum(sum(values[task]) for task in GROUP["mmlu_clinical"]) / 100)
    axis, = figure3_medprompt_by_version.plot({"": (steps, by_method)}, "mmlu_clinical").axes
    assert drawn_points(axis) == [sorted(100 * rows["value"]) for rows in by_method.values()]
    assert [label.get_text().split("\n")[0] for label in axis.get_xticklabels()] == [step for step, _ in steps]


def test_contributions_equal_recomputation(study):
    records = table_contribution.contributions(study)
    medqa = {r["technique"]: r for r in records if r["task"] == "medqa_4options"}
    assert list(medqa) == ["continued pretraining", "fine-tuning", "NEFTune", "CoT", "self-consistency", "MedPrompt", "MedPrompt's part: no-knn"]
    expected = {"continued pretraining": ((0, 0, 0.0, "zero-shot"), (2 * BILLION, 0, 0.0, "zero-shot")),
                "fine-tuning": ((2 * BILLION, 0, 0.0, "zero-shot"), (2 * BILLION, 1, 0.0, "zero-shot")),
                "NEFTune": ((2 * BILLION, 1, 0.0, "zero-shot"), (2 * BILLION, 1, 5.0, "zero-shot")),
                "self-consistency": ((2 * BILLION, 1, 5.0, "cot"), (2 * BILLION, 1, 5.0, "cot-sc")),
                "MedPrompt": ((2 * BILLION, 1, 5.0, "zero-shot"), (2 * BILLION, 1, 5.0, "medprompt"))}
    for technique, (before, after) in expected.items():
        before, after = (numpy.array(item_values(*which)["medqa_4options"]) for which in (before, after))
        record = medqa[technique]
        assert math.isclose(record["difference"], after.mean() - before.mean())
        table = [[((before == i) & (after == j)).sum() for j in (1, 0)] for i in (1, 0)]
        assert math.isclose(record["p"], mcnemar(table, exact=True).pvalue, rel_tol=1e-9)
        assert record["ci_low"] <= record["difference"] <= record["ci_high"]
    ordered = sorted(r["p"] for r in records)
    assert math.isclose(min(r["p_corrected"] for r in records), min(1.0, len(records) * ordered[0]))
    assert all(r["p_corrected"] >= r["p"] for r in records)
    assert medqa["NEFTune"]["reading"] == "adds nothing: the same questions are right"
    assert medqa["fine-tuning"]["reading"] == "adds 15.0 points"
    assert {r["task"] for r in records} == {"medqa_4options", "mmlu_clinical"}


@pytest.mark.parametrize("after, words", [
    ([0] * 30 + [1] * 30 + [0] * 40, "takes 30.0 points away"),
    ([1] * 62 + [0] * 38, "adds nothing beyond noise (too few answers differ to tell)"),
    ([0] * 20 + [1] * 60 + [0] * 20, "adds nothing beyond noise (less than 17.5 points would be missed)"),
    ([1] * 60 + [0] * 40, "adds nothing: the same questions are right"),
])
def test_what_a_row_says(tmp_path, after, words):
    write_evaluation(tmp_path / "a", {"exam": [1] * 60 + [0] * 40})
    write_evaluation(tmp_path / "b", {"exam": after}, fine_tuned=1)
    record, = table_contribution.contributions(collect([("", tmp_path)]))
    assert record["reading"] == words and record["difference"] == pytest.approx(sum(after) / 100 - 0.6)


def test_tables(study):
    header, rows = table_accuracy.results_table(study)
    assert header == ["version", "asked", "medqa_4options", "mmlu_clinical"] and len(rows) == len(VERSIONS) * len(METHODS)
    values = item_values(BILLION, 1, 5.0, "cot")["medqa_4options"]
    low, high = proportion_confint(sum(values), 200, method="wilson")
    row, = [row for row in rows if row[:2] == ["P^1B+F+N(5)", "CoT"]]
    assert row[2] == f"{sum(values) / 2:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    assert table_accuracy.unparsed_table(study)[1] == [["P^2B+F+N(5)", "MedPrompt no-knn", "3 of 200", "–"]]
    header, rows = table_accuracy.overlap_table(study)
    assert header == ["items", "version", "asked", "medqa_4options"]
    assert [(row[0], row[3].split(" [")[0], row[3].split("n ")[1]) for row in rows] == [("clean", "75.0", "4"), ("touched", "50.0", "2")]
    assert {row[1] for row in table_accuracy.ablation_table(study)[1]} == {"MedPrompt", "MedPrompt no-knn"}
    header, rows = table_setup.setup_table(study)
    settings = {row[0]: row[1:] for row in rows}
    assert header == ["setting", "continued", "tuned"]
    assert settings["data"][0] == "general 25 %, clinical 75 %" and settings["batch (tokens)"][0] == "1.02 k"
    assert settings["steps"] == ["40", "40 of 80"] and settings["ranks"][0] == "2 (dp 2, tp 1, edp 1, ep 2)" and settings["learning rate"][0] == "3e-4"


def test_everything_is_written(output):
    folder, result = output
    names = {path.name for path in folder.iterdir()}
    figures = ["figure1_training_loss", "figure2_accuracy_by_tokens", "figure3_medprompt_by_version", "figure4_zero_shot_prompt", "figure5_cot_prompt"]
    assert names == {f"{f}.{s}" for f in figures for s in ("png", "pdf")} | {"index.html"} | {
        f"{t}.{s}" for t in ("table_setup", "table_results", "table_contribution") for s in ("md", "tex", "csv")}
    assert {pathlib.Path(line).name for line in result.stdout.split()} == names
    assert "tuned: training not finished (step 40)" in result.stderr
    for figure in figures:
        assert (folder / f"{figure}.png").read_bytes().startswith(b"\x89PNG") and (folder / f"{figure}.pdf").read_bytes().startswith(b"%PDF")
    with open(folder / "table_contribution.csv", newline="") as file:
        records = list(csv.DictReader(file))
    markdown = (folder / "table_contribution.md").read_text()
    assert all(record["reading"] in markdown for record in records)
    latex = (folder / "table_contribution.tex").read_text()
    assert r"P\textasciicircum{}2B+F" in latex and re.search(r"begin\{tabular\}\{([lr]+)\}", latex)
    for name in ("table_setup", "table_results", "table_contribution"):
        text = (folder / f"{name}.tex").read_text()
        columns = len(re.search(r"begin\{tabular\}\{([lr]+)\}", text).group(1))
        assert all(line.count(" & ") == columns - 1 for line in text.splitlines() if line.endswith(r"\\")), name


def test_the_page_stands_alone(output):
    page = (output[0] / "index.html").read_text()
    assert page.count("data:image/png;base64,") == 5 and "A &lt;study&gt;" in page
    assert not re.search(r'(src|href)="(?!data:)', page), "the page must need no other file"
    for words in ("abababababab", "osler 0.1.0 (0123456)", "2026-01-31T12:00:00Z", "step_000000010", "adds nothing: the same questions are right", "touched", "no-knn", "3 of 200",
                  "training not finished"):
        assert words in page, words
    assert "paper" not in page.lower()


def test_prompts_are_drawn_only_when_asked(tree, tmp_path, study_command):
    code, messages = study_command("--output", tmp_path / "out", tree / "t0_f0_n0")
    assert code == 0, messages
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert not any(name.startswith(("figure4", "figure5")) for name in names)
    assert "Question 7" not in (tmp_path / "out" / "index.html").read_text()
    assert "figure 1: no run" in messages and "figure 2: evaluations at one t only" in messages


def test_prompt_parts(tmp_path):
    rows = [sample(0, 1, prompt="How $x$ is\nit?"), sample(1, 0, prompt="Why?", response="Because.\nAnswer: C", prediction=None)]
    (tmp_path / "samples_exam.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    likelihood, generated = (dict(draw_prompt.prompt_parts(tmp_path / "samples_exam.jsonl", item)) for item in (0, 1))
    assert likelihood["Prompt"] == "How $x$ is\nit?" and likelihood["Continuations compared by log-likelihood"] == "' A'"
    assert generated["The model's answer"] == "Because.\nAnswer: C" and generated["Read as / right answer"] == "not readable / A"
    with pytest.raises(TableError, match="no item 2"):
        draw_prompt.prompt_parts(tmp_path / "samples_exam.jsonl", 2)


def test_a_study_that_is_not_finished(tmp_path, study_command):
    write_evaluation(tmp_path / "whole", {"exam": [1, 0, 1, 1]})
    write_evaluation(tmp_path / "killed", {"exam": [1, 0, 1, 0]}, fine_tuned=1, complete=False)
    (tmp_path / "started").mkdir()
    (tmp_path / "started" / "metrics.jsonl").write_text("")
    code, messages = study_command("--output", tmp_path / "out", tmp_path)
    assert code == 0, messages
    for words in ("killed: evaluation not complete", "started: no training step", "figure 1: no run", "no two evaluations differ", "not asked with MedPrompt: P^0"):
        assert words in messages, words
    assert "killed" in (tmp_path / "out" / "index.html").read_text()


def test_refusals(tmp_path, study_command):
    first = write_evaluation(tmp_path / "one" / "eval", {"exam": [1, 0, 1, 1]})
    code, messages = study_command("--output", tmp_path / "out", tmp_path / "out2")
    assert code == 3 and "no such folder" in messages
    (tmp_path / "empty").mkdir()
    assert "no run and no evaluation" in study_command("--output", tmp_path / "out", tmp_path / "empty")[1]
    write_evaluation(tmp_path / "two" / "eval", {"exam": [1, 0, 1, 0]}, model="runs/other")
    code, messages = study_command("--output", tmp_path / "out", tmp_path)
    assert code == 3 and "P^0 was asked exam (zero-shot) more than once" in messages
    named = collect([("one", tmp_path / "one"), ("two", tmp_path / "two")])
    assert named.series == ["one", "two"] and table_accuracy.results_table(named)[0][0] == "model"
    results = json.loads((first / "results.json").read_text())
    results["osler"]["schema_version"] = 7
    (first / "results.json").write_text(json.dumps(results))
    with pytest.raises(TableError, match="schema version 7 is unknown"):
        collect([("", tmp_path / "one")])
    assert not (tmp_path / "out").exists()


def test_ways_of_asking_are_told_apart(tmp_path):
    for name, values, scoring, shots in (("letter", [1, 0], "letter", 0), ("text", [1, 1], "text", 0), ("few", [0, 0], "letter", 3)):
        write_evaluation(tmp_path / name, {"exam": values}, scoring=scoring, shots=shots, strategy="few-shot" if shots else "zero-shot")
    study = collect([("", tmp_path)])
    assert study.methods() == ["zero-shot, letter", "zero-shot, text", "few-shot (3)"]
    header, rows = table_accuracy.results_table(study)
    assert [(row[1], row[2].split(" ")[0]) for row in rows] == [("zero-shot, letter", "50.0"), ("zero-shot, text", "100.0"), ("few-shot (3)", "0.0")]


def test_a_base_that_was_pretrained_here_has_seen_no_tokens(tmp_path, study_command):
    write_evaluation(tmp_path / "base" / "eval", {"exam": [0] * 20}, tokens_seen=5000)
    write_evaluation(tmp_path / "continued" / "eval", {"exam": [1] * 20}, tokens_seen=5000)
    study = collect([("", tmp_path)], bases=[tmp_path / "base"])
    assert [version.name for version in study.versions()] == ["P^0", "P^5k"] and sorted(study.scores["tokens_seen"]) == [0, 5000]
    code, messages = study_command("--output", tmp_path / "out", "--base", tmp_path / "base", tmp_path)
    assert code == 0 and "at one t only" not in messages
    assert "continued pretraining | P^0  | P^5k" in (tmp_path / "out" / "table_contribution.md").read_text()
    assert study_command("--output", tmp_path / "out", "--base", tmp_path / "bas", tmp_path)[0] == 3


def test_fine_tuning_without_its_plain_form(tmp_path):
    write_evaluation(tmp_path / "plain", {"exam": [1, 0, 0, 0]})
    write_evaluation(tmp_path / "noisy", {"exam": [1, 1, 1, 1]}, fine_tuned=1, neftune_alpha=5.0)
    record, = table_contribution.contributions(collect([("", tmp_path)]))
    assert record["technique"] == "fine-tuning with NEFTune"


def test_unlike_items_and_versions_are_named_not_compared(tmp_path):
    write_evaluation(tmp_path / "plain", {"exam": [1, 0, 0, 0]})
    write_evaluation(tmp_path / "tuned", {"exam": [1, 1, 1]}, fine_tuned=1)
    write_evaluation(tmp_path / "noisy", {"exam": [1, 1, 1]}, fine_tuned=1, neftune_alpha=5.0, strategy="cot")
    study = collect([("", tmp_path)])
    assert table_contribution.contributions(study) == []
    assert any("fine-tuning on exam not compared" in line and "1 only in" in line for line in study.missing)
    assert any("NEFTune: P^0+F+N(5) has nothing to be compared with" in line for line in study.missing)


def test_ablation_is_read_from_the_configuration(tmp_path):
    folder = write_evaluation(tmp_path / "a", {"exam": [1, 0]}, strategy="medprompt")
    results = json.loads((folder / "results.json").read_text())
    results["osler"]["config"] = "[eval]\nmedprompt_knn = off\nmedprompt_cot = on\nmedprompt_shuffle = no\n"
    (folder / "results.json").write_text(json.dumps(results))
    assert collect([("", tmp_path)]).evaluations[0].ablation == "without kNN, without shuffling"


def test_rows_of_subjects_and_groups_are_checked(tmp_path):
    values = [1, 0, 1, 1, 0, 1]
    rows = [(values[::2], {"task": "exam", "subset": "subject:heart"}), (values[1::2], {"task": "exam", "subset": "subject:lung"})]
    write_evaluation(tmp_path / "right", {"exam": values}, subjects=["heart", "lung"], extra_rows=rows)
    assert len(collect([("", tmp_path / "right")]).rows(subset=None)) == 3
    groups = write_evaluation(tmp_path / "groups", {"exam": values, "quiz": [0, 1]}, {"both": ["exam", "quiz"]})
    scores = (groups / "scores.csv").read_text().splitlines()
    assert scores[3].split(",")[5] == "both" and "0.625" in scores[3]
    (groups / "scores.csv").write_text("\n".join([*scores[:3], scores[3].replace("0.625", "0.626")]) + "\n")
    with pytest.raises(TableError, match=r"both acc = 0.626000 \(n 8\), but samples_exam.jsonl, samples_quiz.jsonl gives 0.625000"):
        collect([("", groups)])
    rows[0] = ([1, 1, 1], rows[0][1])
    write_evaluation(tmp_path / "wrong", {"exam": values}, subjects=["heart", "lung"], extra_rows=rows)
    with pytest.raises(TableError, match=r"exam \(subject:heart\) acc = 1.000000"):
        collect([("", tmp_path / "wrong")])
