"""What two ranks on one thread each attain of one rank on two threads, with `osler pretrain` itself.

usage: build/venv/bin/python tests/bench/scaling.py [--layouts dp,tp,ep] [--dtypes fp32,bf16] [--rounds 5] [--overlap]
The models of train_throughput.py, 4 x 1024 tokens a step: Mistral over dp = 2 and tp = 2, Mixtral over ep = 2. Both jobs
are started, and one is stopped (SIGSTOP, every rank) while the other takes a step: what else the machine does meets
both. A step lasts from waking a job until its row of metrics is there; ratios are medians of the rounds' ratios. The end
of a line says how many of the cores other processes had meanwhile (medians of the steps of the two jobs).
--overlap compares a job that reduces gradients beside backward with one that does so after it, over dp = 2.
"""

import argparse
import hashlib
import json
import os
import pathlib
import signal
import statistics
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]
LENGTH = 1024
VOCAB_SIZE = 32000
# layout: model, options of the two ranks, least share of the single rank's speed
LAYOUTS = {"dp": ("mistral", {}, 0.95), "tp": ("mistral", {"parallel.tp": 2}, 0.85), "ep": ("mixtral", {"parallel.ep": 2}, 0.9)}
POLL_S = 0.001
DEADLINE_S = 600
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def write_shard(path):
    """Random tokens in one document, in the format of docs/formats.md, section 3."""
    import h5py
    import numpy

    tokens = numpy.random.default_rng(0).integers(3, VOCAB_SIZE, 400 * LENGTH).astype("<u2")
    offsets = numpy.array([0, len(tokens)], dtype="<u8")
    text = {"created_by": "osler", "source": "random", "tokenizer_sha256": "0" * 64,
            "content_sha256": hashlib.sha256(tokens.tobytes() + offsets.tobytes()).hexdigest()}
    number = {"format_version": 1, "vocab_size": VOCAB_SIZE, "bos_id": 1, "eos_id": 2, "num_documents": 1,
              "num_tokens": len(tokens)}
    with h5py.File(path, "w") as file:
        file["tokens"], file["doc_offsets"] = tokens, offsets
        for name, value in text.items():
            file.attrs[name] = numpy.bytes_(value)
        for name, value in number.items():
            file.attrs[name] = numpy.int64(value)


def busy_ticks():
    """Of all cores since they started: user, nice, system, irq, softirq and stolen by the host."""
    fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4]  # less idle and waiting for a disk


def ticks_of(pid):
    return sum(map(int, pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))


class Job:
    """One `osler pretrain`, stopped whenever step() is not running. Its checkpoints never come due; it ends by SIGKILL."""

    def __init__(self, folder, config, shard, dtype, ranks, options):
        import osler_run

        self.osler_run, self.ranks, self.rows = osler_run, ranks, 0
        self.others = []  # cores that other processes had during each step
        self.metrics, self.log = folder / "run" / "metrics.jsonl", folder / "log"
        local = options["batch"] // (1 if "parallel.tp" in options["layout"] else ranks)
        keys = {"run.dir": folder / "run", "run.steps": 1000000, "run.log_every": 1, "run.threads": 2 // ranks,
                "model.config": config, "data.source": f"random:1:{shard}", "data.sequence_length": LENGTH,
                "data.global_batch": options["batch"], "data.micro_batch": options["micro_batch"] or local,
                "data.cross_document": "on", "parallel.dtype": dtype, "parallel.recompute": options["recompute"],
                "checkpoint.interval_steps": 1000000, **options["layout"]}
        arguments = ["pretrain", *(f"--{key}={value}" for key, value in keys.items())]
        self.process = osler_run.start(arguments, ranks=ranks, env={"OMP_NUM_THREADS": str(2 // ranks)},
                                       stdout=self.log.open("w"), stderr=self.log.open("a"))
        self.wait_for_row()
        self.pids = [self.process.pid] if ranks == 1 else list(osler_run.rank_pids(self.process).values())
        self.signal(signal.SIGSTOP)

    def signal(self, number):
        for pid in self.pids:
            os.kill(pid, number)

    def ticks_of_others(self):
        return busy_ticks() - sum(map(ticks_of, self.pids))

    def wait_for_row(self):
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                sys.exit(f"osler stopped with code {self.process.returncode}:\n{self.log.read_text()[-2000:]}")
            rows = self.metrics.read_bytes().count(b"\n") if self.metrics.exists() else 0
            if rows > self.rows:
                self.rows = rows
                return
            time.sleep(POLL_S)
        sys.exit(f"no step within {DEADLINE_S} s:\n{self.log.read_text()[-2000:]}")

    def step(self):
        """Seconds of one step. What the job does between its row and the stop is the next step's: it is less than the
        time between two looks at the file, and the last step did as much for this one."""
        others, start = self.ticks_of_others(), time.perf_counter()
        self.signal(signal.SIGCONT)
        self.wait_for_row()
        self.signal(signal.SIGSTOP)
        seconds = time.perf_counter() - start
        self.others.append((self.ticks_of_others() - others) / TICKS_PER_S / seconds)
        return seconds

    def end(self):
        self.osler_run.kill_tree(self.process)
        self.process.wait()

    def metrics_rows(self):
        return [json.loads(line) for line in self.metrics.read_text().splitlines()]

    def peak_gb(self):
        return self.metrics_rows()[-1]["memory_bytes"] / 1e9

    def fullest_rank(self):
        """Rows of the fuller of two ranks of experts over the mean, over layers and steps: what the other waits for."""
        loads = [load for row in self.metrics_rows() for load in row["router/load"]]
        return statistics.mean(2 * max(sum(load[:len(load) // 2]), sum(load[len(load) // 2:])) / sum(load) for load in loads)


def take_turns(jobs, options):
    """[(seconds of the first, of the second)] of each round; who goes first alternates as well."""
    for _ in range(options.warmup):
        for job in jobs:
            job.step()
    rounds = []
    for index in range(options.rounds):
        order = jobs if index % 2 == 0 else jobs[::-1]
        seconds = {job: job.step() for job in order}
        rounds.append(tuple(seconds[job] for job in jobs))
    return rounds


def compare(name, kind, dtype, options, folder, sides):
    """sides: [(name, ranks, layout)] of the two; returns how many times as fast the second is."""
    from train_throughput import CONFIG, KINDS

    folder = folder / f"{name}-{dtype}"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**CONFIG, **KINDS[kind]}))
    jobs = []
    try:
        for side, ranks, layout in sides:
            (folder / side).mkdir()
            keys = {"layout": layout, "batch": options.batch, "micro_batch": options.micro_batch, "recompute": options.recompute}
            jobs.append(Job(folder / side, folder / "config.json", folder.parent / "random.h5", dtype, ranks, keys))
        rounds = take_turns(jobs, options)
        memory = [job.peak_gb() for job in jobs]
        fullest = f"   fullest rank of experts x{jobs[1].fullest_rank():.2f}" if "parallel.ep" in sides[1][2] else ""
    finally:
        for job in jobs:
            job.end()
    ratios = [first / second for first, second in rounds]
    tokens = options.batch * LENGTH
    figures = "   ".join(f"{side} {tokens / statistics.median(one):7.1f} tokens/s {gb:5.2f} GB a rank"
                         for (side, _, _), one, gb in zip(sides, zip(*rounds), memory))
    noise = " and ".join(f"{statistics.median(job.others):.2f}" for job in jobs)
    spread = "rounds " + " ".join(f"{ratio:.3f}" for ratio in ratios) + f"   others had {noise} cores{fullest}"
    return statistics.median(ratios), (f"{kind:8} {dtype}  {figures}", spread)


def scaling(layout, dtype, options, folder):
    kind, keys, bar = LAYOUTS[layout]
    speed, (figures, rounds) = compare(layout, kind, dtype, options, folder, [("1 rank", 1, {}), (f"{layout} 2", 2, keys)])
    passed = speed >= bar
    print(f"{figures}   speed x{speed:.3f} (bar {bar})   {'pass' if passed else 'BELOW THE BAR'}   {rounds}", flush=True)
    return passed


def overlap(kind, dtype, options, folder):
    sides = [("after", 2, {"parallel.overlap_reduction": "off"}), ("beside", 2, {"parallel.overlap_reduction": "on"})]
    speed, (figures, rounds) = compare(f"overlap-{kind}", kind, dtype, options, folder, sides)
    passed = speed >= 1
    print(f"{figures}   beside backward x{speed:.3f} (bar 1)   {'pass' if passed else 'BELOW THE BAR'}   {rounds}", flush=True)
    return passed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent.parent / "build" / "release")
    parser.add_argument("--layouts", default="dp,tp,ep")
    parser.add_argument("--dtypes", default="fp32,bf16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=1, help="after the first step of each, which starts it")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--micro-batch", type=int, default=0, help="0: all of a rank's sequences at once")
    parser.add_argument("--recompute", default="none", choices=["none", "selective", "full"])
    parser.add_argument("--overlap", action="store_true")
    options = parser.parse_args()
    os.environ["OSLER"] = str(options.build.resolve() / "osler")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_shard(folder / "random.h5")
        tests, of = (overlap, ("mistral", "mixtral")) if options.overlap else (scaling, options.layouts.split(","))
        passed = [tests(one, dtype, options, folder) for one in of for dtype in options.dtypes.split(",")]
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
