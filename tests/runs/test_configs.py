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
    assert len(RUNS) >= 4 and len(CLUSTERS) >= 2


@pytest.mark.parametrize("cluster", CLUSTERS, ids=lambda path: path.stem)
@pytest.mark.parametrize("run", RUNS, ids=lambda path: path.stem)
def test_shipped_configs_plan(run, cluster):
    done = plan("--config", run, cluster, "--world-size", 64)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "tokens in the run" in done.stdout and ("260.0 B" if run.stem.endswith("pretrain") else "780.1 M") in done.stdout


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


def test_the_report_says_what_moves_how_long_it_takes_and_what_fits():
    text = plan("--config", ROOT / "configs/run/mixtral-8x7b-pretrain.ini", "--world-size=64").stdout
    # dp = 64: (64 - 1) / 64 of the dense gradients in fp32; ep = 8: 7/8 of 2 * 4096 rows, four ways, 32 layers, 8 micro-batches
    dense = 46_702_792_704 - 32 * 8 * 3 * 4096 * 14336
    assert number(r"dense +([\d.]+ GB) +gradients", text) == f"{dense / 64 * 63 * 4 / 1e9:.1f} GB"
    assert number(r"rows +([\d.]+ GB)", text) == f"{8 * 32 * 4 * 7 / 8 * 2 * 4096 * 4096 * 2 / 1e9:.1f} GB"
    parts = re.findall(r"^    .*? ([\d.]+) s  ", text.split("time by a roofline")[1], re.MULTILINE)
    step = float(number(r"\n  step +([\d.]+) s", text))
    assert len(parts) >= 6 and abs(sum(map(float, parts)) - step) < 0.01
    assert "device hours" in text and re.search(r"save +\S+ +training waits", text)
    assert number(r"smallest layouts that fit\n.*\n +(\d+) x h100", text) == "16"
    assert re.search(r"fits up to 1\.\d+ times the mean rows", text)


def test_imbalance_costs_memory_and_time():
    def total(imbalance):
        text = plan("--config", ROOT / "configs/run/mixtral-8x7b-pretrain.ini", "--world-size=64", f"--plan.imbalance={imbalance}").stdout
        return float(number(r"total +([\d.]+)", text)), float(number(r"\n  step +([\d.]+) s", text))

    (memory, step), (more_memory, longer) = total(1), total(1.5)
    assert more_memory > memory and longer > step


@pytest.mark.parametrize("flag", ["--search", "--plan.search=on"])
def test_search_ranks_layouts_that_fit(flag):
    done = plan("--config", MISTRAL, "--world-size=64", flag)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^  64 x h100 +(\d+) +(\d+) +(\d+) +(\d+) +\w+ +([\d.]+) +([\d.]+) +\d+$", done.stdout, re.MULTILINE)
    assert len(rows) == 12
    assert all(int(tp) * int(dp) == 64 and int(ep) == 1 and float(memory) <= 79 for tp, ep, dp, _, memory, _ in rows)
    steps = [float(row[5]) for row in rows]
    assert steps == sorted(steps)
    assert plan("--config", MISTRAL, CLUSTERS[0], "--world-size=64", flag).returncode == 2  # memory of a cpu is unknown


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
    (["--config", MISTRAL, "--world-size=12", "--parallel.tp=12"], "parallel.tp = 12 is no multiple of the model's key-value heads = 8; the nearest are 8 and 16"),
    (["--config", MISTRAL, "--world-size=8", "--plan.imbalance=0.5"], "plan.imbalance: must be >= 1"),
    (["--config", MISTRAL, "--world-size=8", "--cluster.gemm_efficiency=1.5"], "cluster.gemm_efficiency: must be >= 0 and <= 1"),
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


@pytest.mark.parametrize("study", sorted((ROOT / "configs" / "study").glob("*.ini")), ids=lambda path: path.stem)
def test_shipped_studies_plan(study):
    done = plan("--config", study, ROOT / "configs" / "cluster" / "h100.ini", "--world-size", 64)
    assert done.returncode == 0, done.stderr
    assert "DOES NOT FIT" not in done.stdout and "75 evaluations, 5 of each model" in done.stdout
    hours = [float(number) for number in re.findall(r"^(?:pretrain|finetune)/\S+ .* ([\d.]+)$", done.stdout, re.MULTILINE)]
    assert len(hours) == 4 + 10
    assert float(number(r"training, all .* ([\d.]+)\n", done.stdout)) == pytest.approx(sum(hours), abs=1)
    for ways in sorted((study.parent / "ask").glob("*.ini")):
        common = study.parent / "ask" / ("common-mixtral.ini" if "mixtral" in study.stem else "common.ini")
        asked = subprocess.run([os.environ["OSLER"], "evaluate", "--config", common, ways, "--eval.model=m", "--eval.output=o", "--print-config"],
                               capture_output=True, text=True, timeout=60)
        assert asked.returncode == 0, asked.stderr


@pytest.mark.parametrize("lines,culprit", [
    ("dir = d\ntokens = 5", "study.pretrain: is needed"),
    (f"dir = d\npretrain = {MISTRAL}", "study.tokens: is needed"),
    (f"dir = d\npretrain = {MISTRAL}\ntokens = 9000000000\ntokens = 8000000000", "they must rise"),
    (f"dir = d\npretrain = {MISTRAL}\ntokens = 900000000000", "are behind the 260000"),
    (f"dir = d\npretrain = {MISTRAL}\ntokens = 5\nneftune_alpha = 5\nneftune_alpha = 5", "5 is given twice"),
])
def test_broken_studies_are_refused(tmp_path, lines, culprit):
    bad = tmp_path / "study.ini"
    bad.write_text(f"[study]\n{lines}\n")
    done = plan("--config", bad, "--world-size=64")
    assert done.returncode == 2, done.stdout + done.stderr
    assert culprit in done.stderr and done.stdout == ""
