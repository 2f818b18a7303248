"""Bad command lines, configuration files, model configurations and folders."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest
from bad_input import DATA, STORAGE, USAGE, Place, Table, check, make_trained
import osler_run
from osler_run import model_config

row = Table()


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
def layout_that_does_not_divide(at):
    return at.pretrain(["parallel.tp = 3", "attention heads"], parallel__tp=3)


@row(USAGE)
def experts_of_a_model_without(at):
    return at.pretrain(["parallel.ep = 2", "no experts"], parallel__ep=2)


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


# --- storage

@row(STORAGE)
def run_directory_below_a_file(at):
    at.file("file", "x")
    arguments = at.world.pretrain_args(at.tmp / "file" / "run")
    return ["pretrain", *arguments], ["file"], []


@row(DATA)
def inspect_of_nothing(at):
    return ["inspect", at.tmp / "absent"], ["absent"], []


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return make_trained(tmp_path_factory.mktemp("trained"))


@pytest.mark.parametrize("prepare,code", row)
def test_bad_input(prepare, code, trained, tmp_path):
    check(prepare, code, Place(*trained, tmp_path))


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None,
                    reason="needs root and setpriv to run as a user without rights")
def test_directory_without_permission(trained, tmp_path):
    world, _ = trained
    forbidden = pathlib.Path(tempfile.mkdtemp(prefix="osler_forbidden_"))  # pytest's own folders cannot be entered by others
    forbidden.chmod(0o755)
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", osler_run.OSLER, "pretrain",
               *world.pretrain_args(forbidden / "run")]
    result = subprocess.run(command, capture_output=True, text=True, env=osler_run.environment(), timeout=60)
    forbidden.rmdir()
    assert result.returncode == STORAGE, result.stderr
    assert str(forbidden) in result.stderr
