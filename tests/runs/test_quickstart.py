"""The quickstart's way in small: its world, configurations and scripts fit the program. quickstart.sh itself takes minutes."""

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
    return subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=300)


def osler(*arguments, cwd=ROOT, ranks=1):
    launcher = [os.environ["OSLER_MPIRUN"], "-n", ranks] if ranks > 1 else []
    return run(*launcher, os.environ["OSLER"], *arguments, cwd=cwd)


@pytest.mark.parametrize("verb, config", [("tokenize", "tokenize.ini"), ("pretrain", "base.ini"), ("pretrain", "continued.ini"), ("evaluate", "evaluate.ini")])
def test_configurations_are_understood(verb, config):
    more = ["--tokenize.input=a:b", "--tokenize.output=c"] if verb == "tokenize" else ["--eval.model=a", "--eval.output=b"] if verb == "evaluate" else []
    result = osler(verb, "--config", CONFIGS / config, *more, "--print-config")
    assert result.returncode == 0, result.stderr


def test_the_whole_way_in_small(tmp_path):
    """The steps of quickstart.sh with few documents and steps, on two ranks, in another folder."""
    work = tmp_path / "build" / "quickstart"
    (tmp_path / "configs").mkdir()
    shutil.copytree(CONFIGS, tmp_path / "configs" / "quickstart", ignore=shutil.ignore_patterns("__pycache__"))

    def step(result):
        assert result.returncode == 0, result.stdout + result.stderr

    step(run(sys.executable, CONFIGS / "make_world.py", work / "world", "--documents", 400, "--tokenizer", 3072))
    for name, source in {"general": "general", "clinical": "clinical", "general_valid": "validation/general", "clinical_valid": "validation/clinical"}.items():
        step(osler("tokenize", "--config", "configs/quickstart/tokenize.ini", f"--tokenize.input={name}:{work}/world/{source}",
                   f"--tokenize.output={work}/tokens/{name}", cwd=tmp_path, ranks=2))
    for name in ("base", "continued"):
        short = ["--config", f"configs/quickstart/{name}.ini", "--run.steps=6", "--run.log_every=1", "--data.validate_every=3", "--optim.warmup_steps=2"]
        step(osler("pretrain", *short, cwd=tmp_path, ranks=2))
        assert (work / "runs" / name / "done").exists()
        again = osler("pretrain", *short, cwd=tmp_path, ranks=2)
        assert again.returncode == 0 and "nothing to do" in again.stderr + again.stdout
        step(osler("evaluate", "--config", "configs/quickstart/evaluate.ini", f"--eval.model={work}/runs/{name}", "--eval.limit=20",
                   f"--eval.output={work}/runs/{name}/eval/zero_shot", cwd=tmp_path, ranks=2))
    step(run(sys.executable, ROOT / "analysis" / "figure1_training_loss.py", "--chain", "--output", work / "figure",
             *(f"{name}={work}/runs/{name}/metrics.jsonl" for name in ("base", "continued"))))
    step(run(sys.executable, ROOT / "analysis" / "table_accuracy.py", "--output", work / "table",
             *(work / "runs" / name / "eval" / "zero_shot" for name in ("base", "continued"))))
    assert (work / "table.md").read_text().count("| exam |") == 4
    sys.path.insert(0, str(ROOT / "analysis"))
    import read_tables
    frames = [read_tables.read_scores(work / "runs" / "base" / "eval" / "zero_shot" / name) for name in ("scores.csv", "scores.h5")]
    assert frames[0].fillna(-1).to_dict() == frames[1].fillna(-1).to_dict()
    rows = [json.loads(line) for line in (work / "runs" / "continued" / "metrics.jsonl").read_text().splitlines()]
    assert any("loss/clinical" in row for row in rows) and any("valid/general" in row for row in rows)
