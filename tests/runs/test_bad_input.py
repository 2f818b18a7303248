"""The table of bad inputs over all verbs: each gets its exit code, a message that names the culprit, and nothing
half-written. A row is a function that prepares the bad thing and returns (arguments, culprits, must_not_exist)."""

import gzip
import json
import os
import pathlib
import shutil
import struct
import subprocess

import pytest

import osler_run
from osler_run import make_world, model_config, run

USAGE, DATA, CHECKPOINT, STORAGE = 2, 3, 4, 5
ROWS = []


def row(code):
    def register(function):
        ROWS.append(pytest.param(function, code, id=function.__name__))
        return function
    return register


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    """A finished run with two checkpoints and its export."""
    folder = tmp_path_factory.mktemp("trained")
    world.pretrain(folder / "run", run__steps=4, checkpoint__interval_steps=2)
    run(["convert", "--input", folder / "run", "--output", folder / "hf"])
    return folder


class Place:
    """Where one row works: a fresh folder beside the world and the trained run."""

    def __init__(self, world, trained, tmp_path):
        self.world, self.trained, self.tmp = world, trained, tmp_path

    def file(self, name, content):
        path = self.tmp / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def pretrain(self, culprits, **overrides):
        out = self.tmp / "run"
        return ["pretrain", *self.world.pretrain_args(out, **overrides)], culprits, [out / "metrics.jsonl", out / "done"]

    def tokenize(self, source, culprits, *more):
        out = self.tmp / "tokens"
        return (["tokenize", f"--tokenize.input=x:{source}", f"--tokenize.tokenizer={self.world.tokenizer}",
                 f"--tokenize.output={out}", *more], culprits, [out / "tokenize.json"])

    def convert(self, source, culprits):
        out = self.tmp / "converted"
        return ["convert", "--input", source, "--output", out], culprits, [out]

    def evaluate(self, task, culprits, model=None):
        out = self.tmp / "eval"
        return (["evaluate", f"--eval.model={model or self.trained / 'hf'}", f"--eval.task={task}",
                 f"--eval.output={out}"], culprits, [out])

    def hf(self):
        return pathlib.Path(shutil.copytree(self.trained / "hf", self.tmp / "hf"))

    def safetensors(self, header, body=b""):
        """A Hugging Face directory whose one weight file has this header (bytes or object)."""
        folder = self.hf()
        for old in folder.glob("*.safetensors*"):
            old.unlink()
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
        return folder

    def run_copy(self):
        return pathlib.Path(shutil.copytree(self.trained / "run", self.tmp / "run"))


# --- command line and configuration

@row(USAGE)
def unknown_verb(at):
    return ["pretain"], ["pretain", "pretrain"], []


@row(USAGE)
def unknown_key_on_the_command_line(at):
    return at.pretrain(["optim.learning_rat", "optim.learning_rate"], optim__learning_rat="1")


@row(USAGE)
def unknown_key_in_a_file(at):
    path = at.file("bad.ini", "[run]\nsteps = 3\nstepz = 4\n")
    return ["pretrain", "--config", path], ["bad.ini", "3", "stepz", "steps"], []


@row(USAGE)
def duplicate_key_in_a_file(at):
    path = at.file("bad.ini", "[run]\nsteps = 3\nsteps = 4\n")
    return ["pretrain", "--config", path], ["bad.ini", "run.steps"], []


@row(USAGE)
def hash_inside_a_value(at):
    path = at.file("bad.ini", "[run]\ndir = some#where\n")
    return ["pretrain", "--config", path], ["bad.ini", "#"], []


@row(USAGE)
def line_that_is_no_option(at):
    path = at.file("bad.ini", "[run]\n; steps = 3\n")
    return ["pretrain", "--config", path], ["bad.ini"], []


@row(USAGE)
def missing_config_file(at):
    return ["pretrain", "--config", at.tmp / "absent.ini"], ["absent.ini"], []


@row(USAGE)
def negative_count(at):
    return at.pretrain(["data.micro_batch"], data__micro_batch=-1)


@row(USAGE)
def not_a_number(at):
    return at.pretrain(["optim.learning_rate", "nan"], optim__learning_rate="nan")


@row(USAGE)
def unknown_enumerator(at):
    return at.pretrain(["optim.schedule", "cosin", "cosine"], optim__schedule="cosin")


@row(USAGE)
def batch_that_does_not_divide(at):
    return at.pretrain(["global_batch"], data__global_batch=7, data__micro_batch=2)


@row(USAGE)
def layout_not_in_this_version(at):
    return at.pretrain(["parallel.tp"], parallel__tp=2)


@row(USAGE)
def no_model_at_all(at):
    return at.pretrain(["model."], model__config=None)


@row(USAGE)
def convert_into_a_folder_that_is_not_empty(at):
    at.file("full/something", "x")
    return ["convert", "--input", at.trained / "hf", "--output", at.tmp / "full"], ["full"], [at.tmp / "full/manifest.json"]


@row(USAGE)
def plan_with_no_world(at):
    return ["plan", f"--model.config={at.world.mistral}", "--world-size", "0"], ["plan.world_size"], []


# --- model configuration

def _with_config(at, change):
    path = at.file("config.json", json.dumps(change))
    return at.pretrain(["config.json"], model__config=path)


@row(DATA)
def model_of_another_architecture(at):
    arguments, culprits, absent = _with_config(at, model_config(architectures=["LlamaForCausalLM"]))
    return arguments, [*culprits, "LlamaForCausalLM"], absent


@row(DATA)
def model_without_rms_norm_eps(at):
    config = model_config()
    del config["rms_norm_eps"]
    arguments, culprits, absent = _with_config(at, config)
    return arguments, [*culprits, "rms_norm_eps"], absent


@row(DATA)
def heads_that_do_not_divide(at):
    arguments, culprits, absent = _with_config(at, model_config(num_key_value_heads=3))
    return arguments, [*culprits, "num_key_value_heads"], absent


@row(DATA)
def model_configuration_that_is_no_json(at):
    return at.pretrain(["broken.json"], model__config=at.file("broken.json", "{\"vocab_size\": "))


# --- corpora

@row(DATA)
def corpus_that_is_not_there(at):
    return at.tokenize(at.tmp / "absent.jsonl", ["absent.jsonl"])


@row(DATA)
def broken_json_when_told_to_stop(at):
    path = at.file("c.jsonl", '{"text": "fine"}\n{"text": broken}\n')
    return at.tokenize(path, ["c.jsonl:2"], "--tokenize.bad_records=stop")


@row(DATA)
def bad_utf8_when_told_to_stop(at):
    path = at.file("c.jsonl", b'{"text": "fine"}\n{"text": "\xff\xfe"}\n')
    return at.tokenize(path, ["c.jsonl:2"], "--tokenize.bad_records=stop")


@row(DATA)
def missing_field_when_told_to_stop(at):
    path = at.file("c.jsonl", '{"text": "fine"}\n{"body": "x"}\n')
    return at.tokenize(path, ["c.jsonl:2", "text"], "--tokenize.bad_records=stop")


@row(DATA)
def corpus_without_a_usable_document(at):
    return at.tokenize(at.file("c.jsonl", "{}\n[]\n"), ["c.jsonl"])


@row(DATA)
def empty_corpus(at):
    return at.tokenize(at.file("c.jsonl", ""), ["c.jsonl"])


@row(DATA)
def truncated_archive(at):
    whole = gzip.compress(b'{"text": "one two three four"}\n' * 500)
    return at.tokenize(at.file("c.jsonl.gz", whole[:len(whole) // 2]), ["c.jsonl.gz"], "--tokenize.bad_records=stop")


@row(DATA)
def tokenizer_that_is_none(at):
    path = at.file("tokenizer.model", "not a model")
    arguments, _, absent = at.tokenize(at.world.corpora / "general.jsonl", [])
    return [a if not str(a).startswith("--tokenize.tokenizer") else f"--tokenize.tokenizer={path}" for a in arguments], \
        ["tokenizer.model"], absent


# --- token shards

@row(DATA)
def shards_that_are_not_there(at):
    return at.pretrain(["absent"], data__source=f"general:1:{at.tmp / 'absent'}")


@row(DATA)
def shard_that_is_no_hdf5(at):
    at.file("shards/a.h5", "plain text")
    return at.pretrain(["a.h5"], data__source=f"general:1:{at.tmp / 'shards'}")


@row(DATA)
def shard_cut_short(at):
    source = next((at.world.shards / "general").rglob("*.h5"))
    at.file("shards/a.h5", source.read_bytes()[:-64])
    return at.pretrain(["a.h5"], data__source=f"general:1:{at.tmp / 'shards'}")


@row(DATA)
def hdf5_that_is_no_shard(at):
    import h5py
    (at.tmp / "shards").mkdir()
    with h5py.File(at.tmp / "shards/a.h5", "w") as file:
        file["x"] = [1.0, 2.0]
    return at.pretrain(["a.h5"], data__source=f"general:1:{at.tmp / 'shards'}")


@row(DATA)
def source_shorter_than_a_window(at):
    path = at.file("config.json", json.dumps(model_config(max_position_embeddings=10_000_000)))
    return at.pretrain(["general"], data__sequence_length=10_000_000, model__config=path)


@row(DATA)
def words_beyond_the_models_vocabulary(at):
    path = at.file("config.json", json.dumps(model_config(vocab_size=300)))
    return at.pretrain(["300"], model__config=path)


# --- weights

@row(DATA)
def weights_that_are_not_there(at):
    return at.convert(at.tmp / "absent", ["absent"])


@row(DATA)
def safetensors_header_longer_than_the_file(at):
    folder = at.safetensors({})
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 20) + b"{}")
    return at.convert(folder, ["model.safetensors"])


@row(DATA)
def safetensors_header_of_many_gigabytes(at):
    folder = at.safetensors({})
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    return at.convert(folder, ["model.safetensors"])


@row(DATA)
def safetensors_with_duplicate_keys(at):
    one = '"model.norm.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    return at.convert(at.safetensors(("{" + one + "," + one + "}").encode(), b"\0" * 4), ["model.safetensors"])


@row(DATA)
def safetensors_with_overlap(at):
    header = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
              "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}
    return at.convert(at.safetensors(header, b"\0" * 12), ["model.safetensors"])


@row(DATA)
def safetensors_with_a_hole(at):
    header = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
              "b": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]}}
    return at.convert(at.safetensors(header, b"\0" * 12), ["model.safetensors"])


@row(DATA)
def safetensors_whose_shape_overflows(at):
    header = {"a": {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 4]}}
    return at.convert(at.safetensors(header, b"\0" * 4), ["model.safetensors"])


@row(DATA)
def model_with_a_missing_tensor(at):
    header = {"model.norm.weight": {"dtype": "F32", "shape": [32], "data_offsets": [0, 128]}}
    return at.convert(at.safetensors(header, b"\0" * 128), ["model.embed_tokens.weight"])


@row(DATA)
def model_directory_without_config(at):
    folder = at.hf()
    (folder / "config.json").unlink()
    return at.convert(folder, ["config.json"])


@row(DATA)
def index_that_leaves_the_directory(at):
    folder = at.hf()
    for old in folder.glob("*.safetensors*"):
        old.unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(
        {"metadata": {"total_size": 4}, "weight_map": {"model.norm.weight": "../elsewhere.safetensors"}}))
    return at.convert(folder, ["index.json"])


# --- checkpoints

def _newest(run_dir):
    return sorted((run_dir / "checkpoints").glob("step_*"))[-1]


@row(CHECKPOINT)
def checkpoint_with_a_flipped_bit(at):
    run_dir = at.run_copy()
    for step in (run_dir / "checkpoints").glob("step_*"):
        path = next(step.glob("rank_*.h5"))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    (run_dir / "done").unlink()
    return ["pretrain", *at.world.pretrain_args(run_dir, run__steps=8)], ["rank_00000"], [run_dir / "done"]


@row(CHECKPOINT)
def checkpoint_cut_short(at):
    step = _newest(at.run_copy())
    path = next(step.glob("rank_*.h5"))
    path.write_bytes(path.read_bytes()[:1000])
    return ["inspect", step, "--verify"], [path.name], []


@row(CHECKPOINT)
def checkpoint_with_a_shard_missing(at):
    step = _newest(at.run_copy())
    path = next(step.glob("rank_*.h5"))
    path.unlink()
    return ["inspect", step, "--verify"], [path.name], []


@row(CHECKPOINT)
def manifest_that_is_no_json(at):
    step = _newest(at.run_copy())
    (step / "manifest.json").write_text("{")
    return at.convert(step, ["manifest.json"])


@row(CHECKPOINT)
def manifest_that_was_edited(at):
    step = _newest(at.run_copy())
    path = step / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["state"]["step"] = 999
    path.write_text(json.dumps(manifest))
    return at.convert(step, ["manifest.json", "edited"])


@row(USAGE)
def resume_with_another_model(at):
    run_dir = at.run_copy()
    (run_dir / "done").unlink()
    path = at.file("config.json", json.dumps(model_config(num_hidden_layers=3)))
    return ["pretrain", *at.world.pretrain_args(run_dir, run__steps=8, model__config=path)], ["num_hidden_layers"], \
        [run_dir / "done"]


@row(USAGE)
def resume_with_other_data(at):
    run_dir = at.run_copy()
    (run_dir / "done").unlink()
    source = f"general:1:{at.world.shards / 'held_out'}"
    return ["pretrain", *at.world.pretrain_args(run_dir, run__steps=8, data__source=source)], ["data"], [run_dir / "done"]


# --- benchmarks

@row(DATA)
def benchmark_that_is_not_there(at):
    return at.evaluate(f"medqa_4options:{at.tmp / 'absent.jsonl'}", ["absent.jsonl"])


@row(DATA)
def medqa_with_a_gold_that_is_no_option(at):
    path = at.file("q.jsonl", json.dumps({"question": "Q?", "options": {"A": "a", "B": "b", "C": "c", "D": "d"},
                                          "answer": "e", "answer_idx": "E"}) + "\n")
    return at.evaluate(f"medqa_4options:{path}", ["q.jsonl:1"])


@row(DATA)
def medmcqa_without_options(at):
    return at.evaluate(f"medmcqa:{at.file('q.json', json.dumps({'question': 'Q?', 'cop': 1}))}", ["q.json"])


@row(DATA)
def pubmedqa_with_an_unknown_decision(at):
    path = at.file("q.json", json.dumps({"1": {"QUESTION": "Q?", "CONTEXTS": ["c"], "final_decision": "perhaps"}}))
    return at.evaluate(f"pubmedqa:{path}", ["q.json", "final_decision"])


@row(DATA)
def mmlu_with_too_few_columns(at):
    return at.evaluate(f"mmlu_anatomy:{at.file('q.csv', 'What?,a,b,c' + chr(10))}", ["q.csv:1"])


@row(DATA)
def model_without_a_tokenizer(at):
    folder = at.hf()
    (folder / "tokenizer.model").unlink()
    path = at.file("q.jsonl", json.dumps({"id": 1, "question": "Q?", "options": ["a", "b"], "answer": "A"}) + "\n")
    return at.evaluate(f"generic:{path}", ["tokenizer"], model=folder)


# --- storage

@row(STORAGE)
def run_directory_below_a_file(at):
    at.file("file", "x")
    arguments = at.world.pretrain_args(at.tmp / "file" / "run")
    return ["pretrain", *arguments], ["file"], []


@row(DATA)
def inspect_of_nothing(at):
    return ["inspect", at.tmp / "absent"], ["absent"], []


def test_the_table_is_long_enough():
    assert len(ROWS) >= 40


@pytest.mark.parametrize("prepare,code", ROWS)
def test_bad_input(prepare, code, world, trained, tmp_path):
    arguments, culprits, must_not_exist = prepare(Place(world, trained, tmp_path))
    result = run(arguments, expect=None)
    assert result.returncode == code, result.stderr
    for culprit in culprits:
        assert str(culprit) in result.stderr, f"{culprit} is not named in:\n{result.stderr}"
    assert "terminate called" not in result.stderr and "Traceback" not in result.stderr
    for path in must_not_exist:
        assert not path.exists(), f"{path} was written"


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None,
                    reason="needs root and setpriv to run as a user without rights")
def test_directory_without_permission(world, tmp_path):
    forbidden = tmp_path / "forbidden"
    forbidden.mkdir(mode=0o755)
    for folder in [tmp_path, *tmp_path.parents]:
        if not os.stat(folder).st_mode & 0o005:
            pytest.skip(f"{folder} cannot be entered by other users on this machine")
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", osler_run.OSLER, "pretrain",
               *world.pretrain_args(forbidden / "run")]
    result = subprocess.run(command, capture_output=True, text=True, env=osler_run.environment(), timeout=60)
    assert result.returncode == STORAGE, result.stderr
    assert str(forbidden) in result.stderr
