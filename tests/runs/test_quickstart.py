"""The quickstart's way in small: its world, configurations and scripts fit the program. quickstart.sh itself takes minutes."""

import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs" / "quickstart"


def run(*command, cwd=ROOT):
    return subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "OSLER_PYTHON": sys.executable})


def osler(*arguments, cwd=ROOT, ranks=1):
    launcher = [os.environ["OSLER_MPIRUN"], "-n", ranks] if ranks > 1 else []
    return run(*launcher, os.environ["OSLER"], *arguments, cwd=cwd)


WAYS = ["zero-shot", "letter", "cot", "cot-sc", "medprompt"]
SMALL = {  # file: lines put in the place of those with the same key
    "continued.ini": ["steps = 4", "log_every = 1", "validate_every = 2", "warmup_steps = 1"],
    "finetune.ini": ["epochs = 1", "log_every = 1", "validation_sequences = 4", "warmup_steps = 1"],
    "study.ini": ["tokens = 2048", "tokens = 4096"],
    "ask/common.ini": ["batch_tokens = 8192\nlimit = 6"],
}


@pytest.mark.parametrize("verb, config", [("tokenize", "tokenize.ini"), ("pretrain", "base.ini"), ("pretrain", "continued.ini"), ("finetune", "finetune.ini"),
                                          *(("evaluate", f"ask/{way}.ini") for way in WAYS)])
def test_configurations_are_understood(verb, config):
    more = {"tokenize": ["--tokenize.input=a:b", "--tokenize.output=c"], "finetune": ["--model.from=a", "--run.dir=b"],
            "evaluate": ["--config", CONFIGS / "ask" / "common.ini", CONFIGS / "ask" / "finetuned.ini", "--eval.model=a", "--eval.output=b"]}
    result = osler(verb, "--config", CONFIGS / config, *more.get(verb, []), "--print-config")
    assert result.returncode == 0, result.stderr


def make_small(configs):
    for name, lines in SMALL.items():
        keys = {line.split(" =")[0] for line in lines}
        kept = [line for line in (configs / name).read_text().splitlines() if line.split(" =")[0] not in keys]
        for line in lines:  # a new key stands behind a line of its section
            section = {"steps": "[run]", "log_every": "[run]", "epochs": "[data]", "validate_every": "[data]", "validation_sequences": "[data]",
                       "warmup_steps": "[optim]", "tokens": "[study]", "batch_tokens": "[eval]"}[line.split(" =")[0]]
            kept.insert(kept.index(section) + 1 + [other for other in lines if other.split(" =")[0] == line.split(" =")[0]].index(line), line)
        (configs / name).write_text("\n".join(kept) + "\n")


def test_the_whole_way_in_small(tmp_path):
    """The steps of quickstart.sh with few documents, steps and questions, on two ranks, in another folder."""
    work = tmp_path / "build" / "quickstart"
    (tmp_path / "configs").mkdir()
    shutil.copytree(CONFIGS, tmp_path / "configs" / "quickstart", ignore=shutil.ignore_patterns("__pycache__"))
    make_small(tmp_path / "configs" / "quickstart")
    for name in ("slurm", "analysis"):
        (tmp_path / name).symlink_to(ROOT / name)

    def step(result):
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    step(run(sys.executable, CONFIGS / "make_world.py", work / "world", "--documents", 400, "--tokenizer", 3072))
    for name, source, *more in [("general", "general"), ("clinical", "clinical"), ("general_valid", "validation/general"),
                                ("clinical_valid", "validation/clinical"), ("instruct", "instruct/train.jsonl", "--tokenize.format=chat"),
                                ("instruct_valid", "instruct/valid.jsonl", "--tokenize.format=chat")]:
        step(osler("tokenize", "--config", "configs/quickstart/tokenize.ini", f"--tokenize.input={name}:{work}/world/{source}",
                   f"--tokenize.output={work}/tokens/{name}", *more, cwd=tmp_path, ranks=2))
    short = ["--config", "configs/quickstart/base.ini", "--run.steps=6", "--run.log_every=1", "--data.validate_every=3", "--optim.warmup_steps=2"]
    step(osler("pretrain", *short, cwd=tmp_path, ranks=2))
    step(osler("convert", "--input", work / "runs" / "base", "--output", work / "base_model", cwd=tmp_path))
    study = [ROOT / "slurm" / "study.sh", "--local", "--ranks", 2, "configs/quickstart/study.ini"]
    first = step(run(*study, cwd=tmp_path))
    assert "pretrain/2048" in first and "finetune/4096-f-n5" in first
    again = step(run(*study, cwd=tmp_path))
    assert again.count(": done") == 2 + 6 + 9 * len(WAYS) and "exit code" not in again
    figures = work / "study" / "figures"
    with open(figures / "table_results.csv", newline="") as table:
        versions = {(int(row["tokens_seen"]), int(row["fine_tuned"]), float(row["neftune_alpha"])) for row in csv.DictReader(table)}
    assert versions == {(t, *tuned) for t in (0, 2048, 4096) for tuned in ((0, 0), (1, 0), (1, 5))}
    for name in ("index.html", "table_contribution.md", "table_setup.md", "figure1_training_loss.png", "figure2_accuracy_by_tokens.pdf",
                 "figure3_medprompt_by_version.png"):
        assert (figures / name).stat().st_size > 0, name
    sys.path.insert(0, str(ROOT / "analysis"))
    import read_tables
    asked = work / "study" / "evaluate" / "4096-f-n5" / "medprompt"
    frames = [read_tables.read_scores(asked / name) for name in ("scores.csv", "scores.h5")]
    assert frames[0].fillna(-1).to_dict() == frames[1].fillna(-1).to_dict()
    assert set(frames[0]["tokens_seen"]) == {4096} and set(frames[0]["neftune_alpha"]) == {5} and set(frames[0]["fine_tuned"]) == {1}
    rows = [json.loads(line) for line in (work / "study" / "pretrain" / "metrics.jsonl").read_text().splitlines()]
    assert any("loss/clinical" in row for row in rows) and any("valid/general" in row for row in rows)
