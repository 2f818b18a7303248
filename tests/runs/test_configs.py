"""Every shipped configuration passes `osler plan`; broken ones are refused with exit code 2 and the culprit's name."""
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
RUNS = sorted((ROOT / "configs" / "run").glob("*.ini"))
CLUSTERS = sorted((ROOT / "configs" / "cluster").glob("*.ini"))
MISTRAL = ROOT / "configs" / "run" / "mistral-7b-pretrain.ini"
MODEL = ROOT / "configs" / "model" / "mistral-7b.json"


def plan(*args, cwd=ROOT):
    return subprocess.run([os.environ["OSLER"], "plan", *map(str, args)], cwd=cwd, capture_output=True, text=True, timeout=120)


def number(pattern, text):
    return re.search(pattern, text).group(1)


def test_there_are_configs():
    assert len(RUNS) >= 2 and len(CLUSTERS) >= 2


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda path: path.stem)
@pytest.mark.parametrize("run", RUNS, ids=lambda path: path.stem)
def test_shipped_configs_plan(run, cluster):
    done = plan("--config", run, cluster, "--world-size", 64)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "tokens in the run" in done.stdout and "260.0 B" in done.stdout


def test_numbers_of_the_report():
    text = plan("--config", MISTRAL, "--world-size=64").stdout
    assert number(r"parameters +([\d,]+)\n", text) == "7,241,732,096"
    assert number(r"tokens per step +([\d,]+)", text) == "2,097,152"
    assert number(r"checkpoint +([\d.]+ GB)", text) == "86.9 GB"
    assert number(r"FLOPs per token +(\S+)", text) == "4.59e+10"
    assert "fits" in text and "DOES NOT FIT" not in text
    mixtral = plan("--config", ROOT / "configs/run/mixtral-8x7b-pretrain.ini", "--world-size=64").stdout
    assert number(r"parameters +([\d,]+)\n", mixtral) == "46,702,792,704"
    assert number(r"active for a token +([\d,]+)", mixtral) == "12,879,925,248"
    assert "DOES NOT FIT" not in mixtral
    whole = plan("--config", ROOT / "configs/run/mixtral-8x7b-pretrain.ini", "--world-size=64", "--parallel.ep=1").stdout
    assert "DOES NOT FIT" in whole


def test_model_from_is_read_where_it_exists(tmp_path):
    model = tmp_path / "models" / "Mistral-7B-v0.1"
    model.mkdir(parents=True)
    model.joinpath("config.json").write_text(MODEL.read_text().replace('"num_hidden_layers": 32', '"num_hidden_layers": 2'))
    done = plan("--config", MISTRAL, "--world-size", 8, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 layers" in done.stdout


def test_help_and_print_config():
    done = plan("--help")
    assert done.returncode == 0 and "--parallel.recompute=none|selective|full" in done.stdout
    done = plan("--config", MISTRAL, "--world-size=64", "--print-config")
    assert done.returncode == 0
    assert "# command line\nworld_size = 64\n" in done.stdout
    assert re.search(r"# \S+mistral-7b-pretrain.ini:\d+\nsteps = 123978\n", done.stdout)


BROKEN = [
    (["--config", "no-such.ini", "--world-size=8"], "no-such.ini"),
    (["--config", MISTRAL], "plan.world_size: is needed"),
    (["--config", MISTRAL, "--world-size=0"], "plan.world_size: must be >= 1"),
    (["--config", MISTRAL, "--world-size=60"], "no multiple of dp * data.micro_batch = 60 * 1; the nearest are 480 and 540"),
    (["--config", MISTRAL, "--world-size=8", "--parallel.tp=3"], "parallel.tp = 3 does not divide"),
    (["--config", MISTRAL, "--world-size=8", "--parallel.ep=2"], "the model has no experts"),
    (["--config", MISTRAL, "--world-size=8", "--data.sequence_length=65536"], "32768 positions"),
    (["--world-size=8"], "model.from: is needed"),
]


@pytest.mark.parametrize("args,culprit", BROKEN, ids=lambda value: value if isinstance(value, str) else "")
def test_broken_configs_are_refused(args, culprit):
    done = plan(*args)
    assert done.returncode == 2, done.stdout + done.stderr
    assert culprit in done.stderr
    assert done.stdout == ""


def test_all_problems_are_named_at_once(tmp_path):
    bad = tmp_path / "bad.ini"
    bad.write_text("[run]\nstep = 5\nseed = -1\n[optim]\nschedule = cosin\n; old comment\n")
    done = plan("--config", MISTRAL, bad, "--world-size=8")
    assert done.returncode == 2
    for part in (f"{bad}:2: unknown key run.step", f"{bad}:3: run.seed", f"{bad}:5: optim.schedule", f"{bad}:6: ';'"):
        assert part in done.stderr


@pytest.mark.parametrize("text,culprit", [("{", "not valid JSON"), ('{"architectures": ["LlamaForCausalLM"]}', "LlamaForCausalLM")])
def test_a_bad_model_config_is_bad_data(tmp_path, text, culprit):
    path = tmp_path / "config.json"
    path.write_text(text)
    done = plan(f"--model.config={path}", "--world-size=8")
    assert done.returncode == 3 and culprit in done.stderr and str(path) in done.stderr
