"""T14: who may read what is written: text is its owner's alone by default, all of it with files.private=all, none with none."""

import random
import shutil
import stat
import subprocess

import pytest

import chat_world
import exam_files
import osler_run
from osler_run import run

HOLDS_TEXT = ("samples_", "shard_")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return exam_files.make_model(tmp_path_factory.mktemp("model"))


def everything(model, folder, *options, umask="022"):
    """Every verb that writes, one after the other, and an evaluation that was killed: {relative path: mode}."""
    folder.mkdir()
    rng = random.Random(5)
    exam = exam_files.write_lines(folder.parent / f"{folder.name}.jsonl", exam_files.medqa_records(rng, 8))
    corpus = folder.parent / f"{folder.name}-corpus.jsonl"
    exam_files.write_lines(corpus, [{"text": exam_files.stem(rng, 3)} for _ in range(60)])

    def osler(*args):
        command = osler_run.command([*args, *options])
        subprocess.run(["sh", "-c", f'umask {umask}; exec "$@"', "sh", *command], env=osler_run.environment(), check=True, capture_output=True, timeout=300)

    osler("tokenize", f"--tokenize.input=notes:{corpus}", f"--tokenize.tokenizer={model}", f"--tokenize.output={folder / 'tokens'}",
          f"--tokenize.decontaminate=medqa_4options:{exam}", "--tokenize.decontaminate_action=report")
    osler("pretrain", f"--run.dir={folder / 'run'}", "--run.steps=2", f"--model.from={model}", f"--data.source=notes:1:{folder / 'tokens' / 'notes'}",
          "--data.sequence_length=32", "--data.global_batch=4", "--parallel.dtype=fp32", f"--run.trace={folder / 'traces' / 't'}")
    osler("convert", "--input", folder / "run", "--output", folder / "hf")
    osler("convert", "--input", folder / "hf", "--output", folder / "checkpoint")
    evaluate = ["evaluate", f"--eval.model={folder / 'run'}", f"--eval.task=medqa_4options:{exam}", "--parallel.dtype=fp32"]
    osler(*evaluate, f"--eval.output={folder / 'eval'}")
    command = osler_run.command([*evaluate, f"--eval.output={folder / 'killed'}", "--eval.strategy=cot", "--eval.max_new_tokens=200", "--eval.group_items=1", *options])
    process = subprocess.Popen(["sh", "-c", f'umask {umask}; exec "$@"', "sh", *command], env=osler_run.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not list(folder.glob("killed/journal-*/rank_*.jsonl")):
        assert process.poll() is None, process.stderr.read()
    process.kill()
    process.communicate()
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


def test_text_is_private_by_default(model, tmp_path):
    modes = everything(model, tmp_path / "out")
    private = {path for path, mode in modes.items() if mode == 0o600}
    assert private == {path for path in modes if path.rsplit("/", 1)[-1].startswith(HOLDS_TEXT) or "journal-" in path and path.endswith(".jsonl")}
    assert any("shard_" in path for path in private) and any("samples_" in path for path in private) and any("journal-" in path for path in private)
    assert set(modes.values()) == {0o600, 0o644, 0o755}


def test_everything_is_private_where_it_is_asked_for(model, tmp_path):
    assert set(everything(model, tmp_path / "out", "--files.private=all").values()) == {0o600, 0o700}


def test_the_umask_decides_where_that_is_asked_for(model, tmp_path):
    assert set(everything(model, tmp_path / "out", "--files.private=none", umask="027").values()) == {0o640, 0o750}


def test_a_samples_file_that_all_could_read_is_closed_when_it_is_replaced(model, tmp_path):
    exam = exam_files.write_lines(tmp_path / "exam.jsonl", exam_files.medqa_records(random.Random(5), 4))
    args = ["evaluate", f"--eval.model={model}", f"--eval.task=medqa_4options:{exam}", f"--eval.output={tmp_path / 'eval'}", "--parallel.dtype=fp32"]
    run([*args, "--files.private=none"])
    samples = tmp_path / "eval" / "samples_medqa_4options.jsonl"
    assert stat.S_IMODE(samples.stat().st_mode) == 0o644
    shutil.copy(samples, f"{samples}.tmp")  # as a killed run leaves it
    run([*args, "--eval.limit=2"])
    assert stat.S_IMODE(samples.stat().st_mode) == 0o600
