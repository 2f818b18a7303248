"""The batch scripts outside Slurm: srun, mpirun and scontrol are small fakes that record what they were asked."""

import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Leaves with $FAKE_CODE; with FAKE_WAIT it waits for USR1 first, and writes done if FAKE_DONE names it.
FAKE_LAUNCHER = """#!/bin/bash
echo "$(basename "$0") $*" >> "$FAKE_LOG"
env > "$FAKE_LOG.env"
got=
trap 'got=yes; echo USR1 >> "$FAKE_LOG"' USR1
if [ -n "$FAKE_WAIT" ]; then
  touch "$FAKE_LOG.ready"
  while [ -z "$got" ]; do sleep 0.05; done
  sleep 0.3
fi
[ -n "$FAKE_DONE" ] && touch "$FAKE_DONE"
exit "$FAKE_CODE"
"""
FAKE_SCONTROL = """#!/bin/bash
echo "scontrol $*" >> "$FAKE_LOG"
exit "${FAKE_SCONTROL_CODE:-0}"
"""


class Batch:
    def __init__(self, folder):
        self.folder = folder
        self.log = folder / "log"
        self.run_dir = folder / "run"
        self.run_dir.mkdir()
        binaries = folder / "bin"
        binaries.mkdir()
        for name, text in {"srun": FAKE_LAUNCHER, "mpirun": FAKE_LAUNCHER, "scontrol": FAKE_SCONTROL}.items():
            (binaries / name).write_text(text)
            (binaries / name).chmod(0o755)
        self.environment = {"PATH": f"{binaries}:{os.environ['PATH']}", "FAKE_LOG": str(self.log), "SLURM_JOB_ID": "42",
                            "SLURM_SUBMIT_DIR": str(ROOT), "OSLER": "the-osler"}

    def start(self, script, *arguments, **environment):
        return subprocess.Popen(["bash", ROOT / "slurm" / script, *map(str, arguments)], env=self.environment | environment, cwd=self.folder,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, script, *arguments, **environment):
        process = self.start(script, *arguments, **environment)
        output = process.communicate(timeout=30)[0]
        return process.returncode, output, self.log.read_text() if self.log.exists() else ""


@pytest.fixture
def batch(tmp_path):
    return Batch(tmp_path)


@pytest.mark.parametrize("code, done, restarts, expected, requeued", [
    (0, True, "0", 0, False),
    (75, False, "0", 0, True),
    (75, True, "0", 0, False),       # finished on the very step at which it was asked to stop
    (143, False, "3", 0, True),      # launcher torn down
    (137, False, "0", 0, True),
    (0, False, "0", 0, False),       # stopped early on purpose (run.stop_at_step)
    (2, False, "0", 2, False),
    (3, False, "0", 3, False),
    (6, False, "0", 6, False),
    (8, False, "1", 8, False),
    (75, False, "5", 75, False),     # OSLER_MAX_RESTARTS reached
])
def test_pretrain_requeues_only_unfinished_work(batch, code, done, restarts, expected, requeued):
    more = {"FAKE_DONE": str(batch.run_dir / "done")} if done else {}
    returned, output, log = batch.run("pretrain.sbatch", batch.run_dir, "--config", "a.ini", FAKE_CODE=str(code), SLURM_RESTART_COUNT=restarts,
                                      OSLER_MAX_RESTARTS="5", **more)
    assert returned == expected, output
    assert ("scontrol requeue 42" in log) == requeued, log
    assert f"the-osler pretrain --config a.ini --run.dir={batch.run_dir}" in log


def test_finetune_is_the_same_with_another_verb(batch):
    returned, output, log = batch.run("finetune.sbatch", batch.run_dir, "--config", "a.ini", FAKE_CODE="75")
    assert returned == 0 and "scontrol requeue 42" in log, output
    assert f"the-osler finetune --config a.ini --run.dir={batch.run_dir}" in log
    assert batch.run("finetune.sbatch")[0] == 2


def test_dying_without_progress_ends_in_front_of_a_person(batch):
    """srun -K shows 143 when one rank failed and the others were killed: without this, 100 useless restarts."""
    arguments = ["pretrain.sbatch", batch.run_dir, "--config", "a.ini"]
    checkpoints = batch.run_dir / "checkpoints"
    assert [batch.run(*arguments, FAKE_CODE="143")[0] for _ in range(2)] == [0, 0]
    (checkpoints / "step_000000010").mkdir(parents=True)
    assert [batch.run(*arguments, FAKE_CODE="137")[0] for _ in range(3)] == [0, 0, 137]
    assert batch.run(*arguments, FAKE_CODE="75")[0] == 0
    assert batch.log.read_text().count("scontrol requeue") == 5


def test_failing_requeue_is_not_success(batch):
    returned, _, log = batch.run("pretrain.sbatch", batch.run_dir, "--config", "a.ini", FAKE_CODE="75", FAKE_SCONTROL_CODE="1")
    assert "scontrol requeue" in log
    assert returned == 75


@pytest.mark.parametrize("sent", [signal.SIGUSR1, signal.SIGTERM])
def test_signal_to_the_batch_shell_reaches_the_program_as_usr1(batch, sent):
    process = batch.start("pretrain.sbatch", batch.run_dir, "--config", "a.ini", FAKE_CODE="75", FAKE_WAIT="yes")
    deadline = time.monotonic() + 20
    while not pathlib.Path(f"{batch.log}.ready").exists():
        assert time.monotonic() < deadline, "the launcher never started"
        time.sleep(0.02)
    process.send_signal(sent)
    output = process.communicate(timeout=30)[0]
    log = batch.log.read_text().splitlines()
    assert log[1:] == ["USR1", "scontrol requeue 42"], output
    assert process.returncode == 0


@pytest.mark.parametrize("launcher, start", [("srun", "srun --mpi=pmix --kill-on-bad-exit=1 the-osler"), ("mpirun", "mpirun the-osler")])
def test_launchers(batch, launcher, start):
    _, _, log = batch.run("pretrain.sbatch", batch.run_dir, "--config", "a.ini", FAKE_CODE="0", OSLER_LAUNCHER=launcher, SLURM_EXPORT_ENV="NONE")
    assert log.startswith(start + " pretrain")
    environment = pathlib.Path(f"{batch.log}.env").read_text().splitlines()
    assert "SLURM_PMIX_FENCE=ring" in environment
    assert ("SLURM_EXPORT_ENV=NONE" in environment) == (launcher == "srun")


@pytest.mark.parametrize("given, expected", [({}, None), ({"SLURM_CPUS_PER_TASK": "12"}, "12"), ({"OMP_NUM_THREADS": "3"}, "3"),
                                             ({"SLURM_CPUS_PER_TASK": "12", "OMP_NUM_THREADS": "3"}, "3")])
def test_threads(batch, given, expected):
    batch.run("pretrain.sbatch", batch.run_dir, "--config", "a.ini", FAKE_CODE="0", **given)
    environment = dict(line.partition("=")[::2] for line in pathlib.Path(f"{batch.log}.env").read_text().splitlines())
    assert environment.get("OMP_NUM_THREADS") == expected


def test_unknown_launcher_is_a_usage_error(batch):
    returned, output, _ = batch.run("pretrain.sbatch", batch.run_dir, "--config", "a.ini", FAKE_CODE="0", OSLER_LAUNCHER="prun")
    assert returned == 2
    assert "OSLER_LAUNCHER=prun" in output


def test_missing_run_directory_is_a_usage_error(batch):
    assert batch.run("pretrain.sbatch", FAKE_CODE="0")[0] == 2


@pytest.mark.parametrize("verb", ["tokenize", "evaluate"])
@pytest.mark.parametrize("code", [0, 3])
def test_short_verbs_pass_arguments_and_code_through(batch, verb, code):
    returned, _, log = batch.run(f"{verb}.sbatch", "--config", "a b.ini", FAKE_CODE=str(code))
    assert returned == code
    assert f"the-osler {verb} --config a b.ini\n" in log
    assert "scontrol" not in log


@pytest.mark.parametrize("code, restarts, expected, requeued", [(75, "5", 0, True), (75, "100", 75, False), (143, "2", 0, True), (143, "3", 143, False)])
def test_an_interrupted_evaluation_is_requeued(batch, code, restarts, expected, requeued):
    returned, output, log = batch.run("evaluate.sbatch", "--config", "a.ini", FAKE_CODE=str(code), SLURM_RESTART_COUNT=restarts)
    assert returned == expected, output
    assert ("scontrol requeue 42" in log) == requeued


def test_batch_directives():
    text = (ROOT / "slurm" / "pretrain.sbatch").read_text()
    for directive in ("--requeue", "--open-mode=append", "--signal=B:USR1@300"):
        assert f"#SBATCH {directive}\n" in text
    # Directives after the first command are ignored by sbatch.
    assert text.rindex("#SBATCH") < text.index("osler_home=")


def test_shellcheck():
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    scripts = sorted((ROOT / "slurm").rglob("*.sh")) + sorted((ROOT / "slurm").glob("*.sbatch"))
    assert scripts
    result = subprocess.run(["shellcheck", "-x", *scripts], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


# A study outside Slurm and in it: osler is asked for the pieces; what would run them is fake.
FAKE_PIECE = """#!/bin/bash
shift 2 # -n N
echo "$*" >> "$FAKE_LOG"
case "$*" in *"$FAKE_STOPS_AT"*) [ -z "$FAKE_STOPS_AT" ] || exit "$FAKE_CODE" ;; esac
for argument in "$@"; do
  case $argument in
    --run.dir=*) dir=${argument#*=}; mkdir -p "$dir"; case "$*" in *finetune*) touch "$dir/done" ;; esac ;;
    --run.stop_at_step=*) step=$(printf 'step_%09d' "${argument#*=}"); mkdir -p "$dir/checkpoints/$step"; touch "$dir/checkpoints/$step/manifest.json" ;;
    --eval.output=*) mkdir -p "${argument#*=}"; touch "${argument#*=}/results.json" ;;
  esac
done
"""
FAKE_SBATCH = """#!/bin/bash
echo "$*" >> "$FAKE_LOG"
echo $(($(wc -l < "$FAKE_LOG") + 100))
"""


@pytest.fixture
def study(tmp_path):
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name, text in {"mpirun": FAKE_PIECE, "fake-python": "#!/bin/bash\n[ \"$1\" = -c ] || echo draw \"$@\" >> \"$FAKE_LOG\"\n"}.items():
        (binaries / name).write_text(text)
        (binaries / name).chmod(0o755)
    config = tmp_path / "study.ini"
    config.write_text(f"[study]\ndir = {tmp_path}/out of it\npretrain = {ROOT}/configs/run/mistral-7b-pretrain.ini\ntokens = 50000000000\n"
                      "tokens = 100000000000\nevaluate = zero-shot:zs.ini\nevaluate = cot:cot.ini\n")
    log = tmp_path / "log"

    def run(*arguments, **environment):
        log.unlink(missing_ok=True)
        done = subprocess.run(["bash", ROOT / "slurm" / "study.sh", config, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60,
                              env={"PATH": f"{binaries}:{os.environ['PATH']}", "FAKE_LOG": str(log), "OSLER": os.environ["OSLER"],
                                   "OSLER_PYTHON": str(binaries / "fake-python"), "FAKE_STOPS_AT": "", **environment})
        return done, log.read_text().splitlines() if log.exists() else []
    run.binaries = binaries
    return run


def verbs_of(lines):
    return [line.split()[1] for line in lines[:-1]]


def test_a_study_runs_here_piece_by_piece_and_only_once(study):
    done, lines = study("--local", "--ranks", "2")
    assert done.returncode == 0, done.stderr
    assert verbs_of(lines) == ["evaluate"] * 2 + ["pretrain"] + ["evaluate"] * 2 + ["pretrain"] + ["evaluate"] * 2
    assert "/out of it/figures" in lines[-1] and lines[-1].startswith("draw")
    done, lines = study("--local")
    assert done.returncode == 0 and len(lines) == 1, "all is done: only the figures are drawn again"


@pytest.mark.parametrize("code", [75, 6])
def test_a_study_stops_with_the_code_of_its_piece_and_goes_on_there(study, code):
    done, lines = study("--local", FAKE_STOPS_AT="pretrain", FAKE_CODE=str(code))
    assert done.returncode == code and len(lines) == 3, "two evaluations of the base model, then the piece that stopped"
    done, lines = study("--local")
    assert done.returncode == 0 and verbs_of(lines)[0] == "pretrain"


def test_a_study_without_the_packages_of_its_figures_is_refused_at_once(study):
    done, lines = study("--local", OSLER_PYTHON="/bin/false")
    assert done.returncode == 2 and "analysis/requirements.txt" in done.stderr and not lines


def test_a_study_becomes_jobs_that_wait_for_each_other(study):
    sbatch = study.binaries / "sbatch"
    sbatch.write_text(FAKE_SBATCH)
    sbatch.chmod(0o755)
    done, lines = study("--", "--nodes=4")
    assert done.returncode == 0, done.stderr
    assert len(lines) == 9 and all("--nodes=4" in line for line in lines[:-1])
    by_name = {line.split("--job-name=osler-")[1].split()[0]: (index + 101, line) for index, line in enumerate(lines)}
    first, second = by_name["pretrain-50B"], by_name["pretrain-100B"]
    assert "afterok" not in first[1] and f"--dependency=afterok:{first[0]} " in second[1]
    assert f"--dependency=afterok:{second[0]} " in by_name["evaluate-100B-cot"][1]
    assert "slurm/pretrain.sbatch" in first[1] and "--run.dir" not in first[1]
    assert "--dependency=afterany:" in by_name["figures"][1]
