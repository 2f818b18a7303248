"""Bad safetensors files, model directories and checkpoints."""

import json
import struct

import pytest
from bad_input import CHECKPOINT, DATA, USAGE, Place, Table, check, make_trained
from osler_run import model_config

row = Table()


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


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return make_trained(tmp_path_factory.mktemp("trained"))


@pytest.mark.parametrize("prepare,code", row)
def test_bad_input(prepare, code, trained, tmp_path):
    check(prepare, code, Place(*trained, tmp_path))
