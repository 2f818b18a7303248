"""osler convert against transformers, safetensors and h5py: bit for bit in both directions, memory bounded by a tensor."""

import fcntl
import json
import os
import pathlib
import subprocess
import sys

import h5py
import numpy
import pytest
import safetensors
import safetensors.torch
import torch
import transformers

from osler_run import OSLER, environment, run

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
COMPANIONS = {"tokenizer.json": b'{"x": "\xc3\xbc"}\n', "tokenizer_config.json": b"{ }", "special_tokens_map.json": b"{}",
              "tokenizer.model": bytes(range(256))}


def tiny_config(kind, **extra):
    sizes = dict(vocab_size=61, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
                 num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=False)
    sizes.update(extra)
    if kind == "mixtral":
        return transformers.MixtralConfig(num_local_experts=3, num_experts_per_tok=2, sliding_window=None, **sizes)
    return transformers.MistralConfig(sliding_window=16, **sizes)


def make_model(folder, kind, dtype, max_shard_size="1GB", **extra):
    torch.manual_seed(7)
    config = tiny_config(kind, **extra)
    cls = transformers.MixtralForCausalLM if kind == "mixtral" else transformers.MistralForCausalLM
    cls(config).to(DTYPES[dtype]).save_pretrained(folder, max_shard_size=max_shard_size)
    for name, content in COMPANIONS.items():
        (folder / name).write_bytes(content)
    return folder


def tensors_of(folder):
    found = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        with safetensors.safe_open(path, "pt") as file:
            assert file.metadata() == {"format": "pt"}
            for name in file.keys():
                assert name not in found
                found[name] = file.get_tensor(name)
    return found


def assert_bitwise_equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape, name
        assert torch.equal(a[name].contiguous().view(torch.uint8), b[name].contiguous().view(torch.uint8)), name


def convert(source, target, *args, **kw):
    return run(["convert", "--input", source, "--output", target, *args], **kw)


@pytest.mark.parametrize("kind", ["mistral", "mixtral"])
@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("shards", ["single", "sharded"])
def test_round_trip_is_bitwise(tmp_path, kind, dtype, shards):
    original = make_model(tmp_path / "hf", kind, dtype, "8KB" if shards == "sharded" else "1GB")
    assert (len(list(original.glob("*.safetensors"))) > 1) == (shards == "sharded")
    convert(original, tmp_path / "checkpoint")
    extra = ["--shard-bytes", "9000"] if shards == "sharded" else []
    convert(tmp_path / "checkpoint", tmp_path / "back", *[a.replace("shard-bytes", "convert.shard_bytes") for a in extra])

    expected = tensors_of(original)
    assert_bitwise_equal(expected, tensors_of(tmp_path / "back"))
    for name in ["config.json", "generation_config.json", *COMPANIONS]:
        assert (tmp_path / "back" / name).read_bytes() == (original / name).read_bytes(), name
    if shards == "sharded":
        index = json.loads((tmp_path / "back/model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == sum(t.nbytes for t in expected.values())
        assert set(index["weight_map"]) == set(expected)
        names = sorted(p.name for p in (tmp_path / "back").glob("*.safetensors"))
        assert names == [f"model-{i + 1:05d}-of-{len(names):05d}.safetensors" for i in range(len(names))]

    loaded, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back", dtype="auto", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    reference = transformers.AutoModelForCausalLM.from_pretrained(original, dtype="auto")
    assert_bitwise_equal(dict(reference.state_dict()), dict(loaded.state_dict()))


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_h5py_reads_the_checkpoint(tmp_path, dtype):
    original = make_model(tmp_path / "hf", "mistral", dtype)
    convert(original, tmp_path / "checkpoint")
    expected = tensors_of(original)
    for file_name in ["rank_00000.h5", "index.h5"]:
        with h5py.File(tmp_path / "checkpoint" / file_name) as file:
            names = []
            file["model"].visititems(lambda name, item: names.append(name))
            assert sorted(names) == sorted(expected)
            for name, tensor in expected.items():
                dataset = file["model"][name]
                values = dataset[...]
                assert values.dtype == (numpy.float16 if dtype == "fp16" else numpy.float32), name
                assert values.shape == tuple(tensor.shape)
                assert numpy.array_equal(values.astype(numpy.float32), tensor.float().numpy()), name
                if file_name != "index.h5":
                    assert tuple(dataset.attrs["global_shape"]) == tuple(tensor.shape)
                    assert tuple(dataset.attrs["offset"]) == (0,) * tensor.dim()
    listing = run(["inspect", tmp_path / "checkpoint", "--verify"]).stdout
    assert "model.layers.1.mlp.down_proj.weight" in listing and "verified" in listing
    assert "verified" in run(["inspect", original, "--verify"]).stdout


@pytest.mark.parametrize("target", list(DTYPES))
def test_dtype_is_converted_as_torch_does(tmp_path, target):
    original = make_model(tmp_path / "hf", "mistral", "fp32")
    convert(original, tmp_path / "direct", f"--convert.dtype={target}")
    convert(tmp_path / "direct", tmp_path / "a")
    convert(original, tmp_path / "kept")
    convert(tmp_path / "kept", tmp_path / "b", f"--convert.dtype={target}")
    expected = {name: tensor.to(DTYPES[target]) for name, tensor in tensors_of(original).items()}
    assert_bitwise_equal(expected, tensors_of(tmp_path / "a"))
    assert_bitwise_equal(expected, tensors_of(tmp_path / "b"))
    config = json.loads((tmp_path / "b/config.json").read_text())
    assert str(DTYPES[target]).endswith(config.get("dtype", config.get("torch_dtype")))
    assert config["architectures"] == ["MistralForCausalLM"]


def test_tied_head_and_old_rotary_buffers_are_left_out(tmp_path):
    original = make_model(tmp_path / "hf", "mistral", "fp32", tie_word_embeddings=True)
    tensors = tensors_of(original)
    assert "lm_head.weight" not in tensors
    extra = {**tensors, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(3)}
    safetensors.torch.save_file(extra, original / "model.safetensors", {"format": "pt"})
    result = convert(original, tmp_path / "checkpoint")
    assert "inv_freq" in result.stderr
    convert(tmp_path / "checkpoint", tmp_path / "back")
    assert_bitwise_equal(tensors, tensors_of(tmp_path / "back"))


def edit(folder, change):
    tensors = tensors_of(folder)
    change(tensors)
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})


REFUSED = {
    "missing tensor": (lambda f: edit(f, lambda t: t.pop("model.norm.weight")), 3, "model.norm.weight"),
    "wrong shape": (lambda f: edit(f, lambda t: t.update({"model.norm.weight": torch.ones(25)})), 3, "model.norm.weight"),
    "unknown tensor": (lambda f: edit(f, lambda t: t.update({"model.extra": torch.ones(1)})), 3, "model.extra"),
    "integer weights": (lambda f: edit(f, lambda t: t.update({"model.norm.weight": torch.ones(24, dtype=torch.int32)})), 3, "I32"),
    "wide integer weights": (lambda f: edit(f, lambda t: t.update({"model.norm.weight": torch.ones(24, dtype=torch.int64)})), 3,
                             "model.norm.weight' in"),
    "bytes as weights": (lambda f: edit(f, lambda t: t.update({"model.norm.weight": torch.ones(24, dtype=torch.uint8)})), 3, "U8"),
    "no config": (lambda f: (f / "config.json").unlink(), 3, "config.json"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), 3, "config.json"),
    "other architecture": (lambda f: (f / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}'), 3, "Llama"),
    "truncated weights": (lambda f: os.truncate(f / "model.safetensors", 1000), 3, "model.safetensors"),
    "pickled weights": (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), 3, "safetensors"),
    "empty folder": (lambda f: [p.unlink() for p in f.iterdir()], 3, "hf"),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_bad_models_are_refused_and_nothing_is_left(tmp_path, what):
    change, code, named = REFUSED[what]
    original = make_model(tmp_path / "hf", "mistral", "fp32")
    change(original)
    result = convert(original, tmp_path / "checkpoint", expect=code)
    assert named in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["hf"]


def test_what_a_killed_conversion_left_is_removed_and_nothing_else(tmp_path):
    original = make_model(tmp_path / "hf", "mistral", "fp32")
    folders = {}
    for name in (".tmp-out-123", ".tmp-out-456", ".tmp-out-2-789", ".tmp-out-mine", ".tmp-out-77"):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        (folders[name] / "rank_00000.h5").write_bytes(b"half")
        if name != ".tmp-out-77":
            (folders[name] / ".lock").touch()
    with open(folders[".tmp-out-456"] / ".lock", "r+b") as held:  # another conversion is at work there
        fcntl.flock(held, fcntl.LOCK_EX)
        assert ".tmp-out-123" in convert(original, tmp_path / "out").stderr
    assert not folders.pop(".tmp-out-123").exists()
    for name, folder in folders.items():
        assert (folder / "rank_00000.h5").read_bytes() == b"half", name
    assert not (tmp_path / "out" / ".lock").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*folders, "hf", "out"])


def test_usage(tmp_path):
    original = make_model(tmp_path / "hf", "mistral", "bf16")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("mine")
    assert "full" in convert(original, tmp_path / "full", expect=2).stderr
    assert (tmp_path / "full/file").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    convert(original, tmp_path / "empty")
    convert(original, tmp_path / "ranks", ranks=2)
    assert (tmp_path / "ranks/manifest.json").exists()
    run(["convert", "--input", original], expect=2)
    convert(tmp_path / "absent", tmp_path / "x", expect=3)
    with open(tmp_path / "empty/rank_00000.h5", "r+b") as file:
        file.seek(-100, os.SEEK_END)
        byte = file.read(1)
        file.seek(-100, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))
    assert "rank_00000.h5" in convert(tmp_path / "empty", tmp_path / "x", expect=4).stderr
    assert "rank_00000.h5" in run(["inspect", tmp_path / "empty", "--verify"], expect=4).stderr
    run(["inspect", tmp_path / "empty"])
    assert not (tmp_path / "x").exists()


PEAK = ("import resource, subprocess, sys\n"
        "code = subprocess.run(sys.argv[1:]).returncode\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)\n"
        "sys.exit(code)\n")


def peak_rss(args):
    result = subprocess.run([sys.executable, "-c", PEAK, OSLER, *map(str, args)], env=environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return int(result.stdout.split()[-1])


def test_memory_is_bounded_by_the_largest_tensor_not_the_model(tmp_path):
    small = make_model(tmp_path / "small", "mistral", "fp32")
    wide = dict(vocab_size=512, hidden_size=1024, intermediate_size=4096, num_attention_heads=8, num_key_value_heads=8)
    large = make_model(tmp_path / "large", "mistral", "fp32", num_hidden_layers=8, **wide)
    size = sum(p.stat().st_size for p in large.glob("*.safetensors"))
    largest = 4096 * 1024 * 4
    assert size > 500e6
    baseline = peak_rss(["convert", "--input", small, "--output", tmp_path / "c0"])
    there = peak_rss(["convert", "--input", large, "--output", tmp_path / "c1"]) - baseline
    back = peak_rss(["convert", "--input", tmp_path / "c1", "--output", tmp_path / "h1", "--convert.dtype=bf16"]) - baseline
    print(f"model {size / 1e6:.0f} MB, largest tensor {largest / 1e6:.0f} MB: {there / 1e6:.0f} MB in, {back / 1e6:.0f} MB out")
    # One tensor, one slab while converting (16 MiB), and the allocator's slack of the same order.
    assert there < 4 * largest and back < 4 * largest
