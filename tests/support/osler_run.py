"""Drives the real executable on a tiny world: a tokenizer, two corpora, token shards and model configurations.

    world = make_world(tmp_path_factory.mktemp("world"))       # once per session: about 3 s
    run(["pretrain", *world.pretrain_args(tmp_path / "run", steps=20)], ranks=2)
    rows = read_metrics(tmp_path / "run")

Everything is generated from fixed seeds: two worlds are equal byte for byte.
"""

import dataclasses
import json
import os
import pathlib
import random
import signal
import subprocess

OSLER = os.environ["OSLER"]
MPIRUN = os.environ.get("OSLER_MPIRUN", "mpirun")
VOCAB_SIZE = 320
# Fields of a metrics row that measure the machine and not the run.
TIMING_FIELDS = {"tokens_per_second", "mfu", "memory_bytes", "step_time_s"}

_MPI_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
    "OMP_NUM_THREADS": "1",
}


def environment(extra=None):
    return {**os.environ, **_MPI_ENVIRONMENT, **(extra or {})}


def command(args, ranks=1):
    """The argument vector: under mpirun for ranks > 1, the bare executable otherwise."""
    launcher = [MPIRUN, "-n", str(ranks)] if ranks > 1 else []
    return [*launcher, OSLER, *map(str, args)]


def start(args, ranks=1, env=None, **popen):
    """Starts osler in the background; stderr is piped unless told otherwise."""
    popen.setdefault("stdout", subprocess.PIPE)
    popen.setdefault("stderr", subprocess.PIPE)
    return subprocess.Popen(command(args, ranks), env=environment(env), text=True, **popen)


def run(args, ranks=1, env=None, expect=0, timeout=300):
    """Runs osler to its end and returns the CompletedProcess; fails with its output unless it exits with `expect`
    (None: any code)."""
    result = subprocess.run(command(args, ranks), env=environment(env), capture_output=True, text=True, timeout=timeout)
    if expect is not None:
        assert result.returncode == expect, (
            f"exit {result.returncode}, expected {expect}: {' '.join(command(args, ranks))}\n"
            f"--- stdout\n{result.stdout[-4000:]}\n--- stderr\n{result.stderr[-4000:]}")
    return result


def read_metrics(run_dir):
    """All rows of a run's metrics.jsonl, as dictionaries in file order."""
    path = pathlib.Path(run_dir)
    if path.is_dir():
        path = path / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def train_rows(run_dir):
    return [row for row in read_metrics(run_dir) if "loss" in row]


def without_timing(rows):
    """What must be equal bit for bit after a resume."""
    return [{key: value for key, value in row.items() if key not in TIMING_FIELDS} for row in rows]


def write_ini(path, sections):
    """{section: {key: value or list of values}} as a config file."""
    lines = []
    for section, keys in sections.items():
        lines.append(f"[{section}]")
        for key, value in keys.items():
            for one in value if isinstance(value, (list, tuple)) else [value]:
                lines.append(f"{key} = {one}")
    path = pathlib.Path(path)
    path.write_text("\n".join(lines) + "\n")
    return path


def model_config(mixture=False, **overrides):
    """config.json of a tiny Mistral or Mixtral, as a dictionary."""
    config = {
        "architectures": ["MixtralForCausalLM" if mixture else "MistralForCausalLM"],
        "model_type": "mixtral" if mixture else "mistral",
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 32,
        "intermediate_size": 48 if mixture else 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "hidden_act": "silu",
        "max_position_embeddings": 256,
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "sliding_window": None,
        "tie_word_embeddings": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": "float32",
    }
    if mixture:
        config |= {
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "router_aux_loss_coef": 0.02,
            "output_router_logits": True,
            "router_jitter_noise": 0.0,
        }
    return config | overrides


_CLINICAL = ("patient fever cough aspirin dose renal cardiac chronic acute therapy presents with denies history of "
             "hypertension diabetes mellitus was given daily mg oral tablet follow up in clinic").split()
_GENERAL = ("river market garden evening walked quietly letter window old house children bread morning train station "
            "the a and of in to was with under over after while songs rain summer").split()


def _documents(words, seed, count):
    """Text with structure to learn: a word often brings the same next word with it."""
    rng = random.Random(seed)
    follows = {word: rng.choice(words) for word in words}
    documents = []
    for _ in range(count):
        word = rng.choice(words)
        text = [word]
        for _ in range(rng.randrange(20, 120)):
            word = follows[word] if rng.random() < 0.7 else rng.choice(words)
            text.append(word)
        documents.append(" ".join(text) + ".")
    return documents


def _write_jsonl(path, documents):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))


def make_tokenizer(folder):
    """A byte-fallback BPE SentencePiece model of VOCAB_SIZE pieces, in a directory as released models have it."""
    import sentencepiece

    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sentences = _documents(_CLINICAL, 1, 60) + _documents(_GENERAL, 2, 60)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_prefix=str(folder / "tokenizer"), vocab_size=VOCAB_SIZE,
        model_type="bpe", byte_fallback=True, character_coverage=1.0, unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
        minloglevel=2, num_threads=1)
    (folder / "tokenizer.vocab").unlink()
    return folder


@dataclasses.dataclass
class World:
    root: pathlib.Path
    tokenizer: pathlib.Path   # directory with tokenizer.model
    corpora: pathlib.Path     # clinical.jsonl, general.jsonl, held_out.jsonl
    shards: pathlib.Path      # one folder of token shards per corpus
    mistral: pathlib.Path     # config.json
    mixtral: pathlib.Path

    def pretrain_options(self, run_dir, mixture=False, **overrides):
        """{section: {key: value}} of a small fp32 run; overrides as section__key=value (None removes the key)."""
        options = {
            "run": {"dir": run_dir, "seed": 11, "steps": 20, "log_every": 1},
            "model": {"config": self.mixtral if mixture else self.mistral, "tokenizer": self.tokenizer},
            "data": {
                "source": [f"general:1:{self.shards / 'general'}", f"clinical:2:{self.shards / 'clinical'}"],
                "sequence_length": 32,
                "global_batch": 12,
                "micro_batch": 1,
            },
            "parallel": {"dtype": "fp32", "recompute": "none"},
            "optim": {"learning_rate": 3e-3, "min_learning_rate": 3e-4, "warmup_steps": 3},
            "checkpoint": {"interval_steps": 5, "keep": 2},
        }
        for name, value in overrides.items():
            section, _, key = name.partition("__")
            if value is None:
                options[section].pop(key, None)
            else:
                options.setdefault(section, {})[key] = value
        return options

    def pretrain_args(self, run_dir, mixture=False, **overrides):
        """The same as command line arguments after `pretrain`."""
        return [f"--{section}.{key}={one}"
                for section, keys in self.pretrain_options(run_dir, mixture, **overrides).items()
                for key, value in keys.items()
                for one in (value if isinstance(value, (list, tuple)) else [value])]

    def pretrain(self, run_dir, ranks=1, mixture=False, env=None, expect=0, **overrides):
        return run(["pretrain", *self.pretrain_args(run_dir, mixture, **overrides)], ranks=ranks, env=env, expect=expect)


def make_world(root):
    """Builds everything under `root` and tokenizes it with `osler tokenize`."""
    root = pathlib.Path(root)
    corpora, shards = root / "corpora", root / "shards"
    corpora.mkdir(parents=True)
    for name, words, seed, count in (("clinical", _CLINICAL, 3, 200), ("general", _GENERAL, 4, 160),
                                     ("held_out", _CLINICAL, 5, 40)):
        _write_jsonl(corpora / f"{name}.jsonl", _documents(words, seed, count))
    tokenizer = make_tokenizer(root / "tokenizer")
    for name in ("clinical", "general", "held_out"):
        run(["tokenize", f"--tokenize.input={name}:{corpora / f'{name}.jsonl'}", f"--tokenize.tokenizer={tokenizer}",
             f"--tokenize.output={shards / name}"])
    configs = {}
    for name, mixture in (("mistral", False), ("mixtral", True)):
        configs[name] = root / name / "config.json"
        configs[name].parent.mkdir()
        configs[name].write_text(json.dumps(model_config(mixture), indent=2))
    return World(root, tokenizer, corpora, shards, configs["mistral"], configs["mixtral"])


def children(pid):
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            pass
    return found


def _rank_of(pid):
    try:
        entries = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    for entry in entries:
        if entry.startswith(b"OMPI_COMM_WORLD_RANK="):
            return int(entry.split(b"=")[1])
    return None


def rank_pids(process):
    """{rank: pid} of the ranks that this mpirun has started so far."""
    return {rank: pid for pid in children(process.pid) if (rank := _rank_of(pid)) is not None}


def kill_rank(process, rank):
    """SIGKILL to one rank of a job started with `start(..., ranks > 1)`; nothing when it is gone already."""
    pid = rank_pids(process).get(rank)
    if pid is not None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def kill_tree(process):
    """SIGKILL to the launcher and every rank, as when a node dies."""
    pids = list(rank_pids(process).values())
    process.kill()
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
