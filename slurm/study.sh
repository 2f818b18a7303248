#!/usr/bin/env bash
# slurm/study.sh [--local] [--ranks N] CONFIG... [-- SBATCH_OPTIONS...]
# Runs a study (section [study] of CONFIG; see configs/study/): pretraining in segments, fine-tunings and evaluations at
# the end of each, then all figures and tables. `osler plan --config CONFIG --world-size N` shows the pieces and their cost.
#
# With Slurm every piece becomes a job that waits for those it needs; SBATCH_OPTIONS go to each, for example
#   slurm/study.sh configs/study/mistral-7b.ini -- --nodes=8 --ntasks-per-node=8 --gpus-per-node=8 --cpus-per-task=12
# Without Slurm, or with --local, the pieces run here one after the other, on N ranks (1).
# Pieces that are done are skipped, and one that was interrupted goes on where it was: start the same command again.
# Exit code, local: 0 all done, 75 a piece was told to stop and has saved, else that of the piece that failed.
# Run it from the project's top folder.
set -euo pipefail

usage() { sed -n '2,12s/^# \{0,1\}//p' "$0"; }
say() { printf '== %s\n' "$*"; }

mode=slurm ranks='' configs=() sbatch_options=()
command -v sbatch > /dev/null || mode=local
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --local) mode=local ;;
    --ranks) shift; ranks=${1:?--ranks needs a number} ;;
    --) shift; sbatch_options=("$@"); break ;;
    -*) printf 'slurm/study.sh: unknown option %s\n' "$1" >&2; usage >&2; exit 2 ;;
    *) configs+=("--config=$1") ;;
  esac
  shift
done
if [ ${#configs[@]} -eq 0 ]; then usage >&2; exit 2; fi

osler_home=$PWD
if [ "$mode" = local ]; then : "${OSLER_LAUNCHER:=mpirun}" "${OSLER_RANKS:=${ranks:-1}}"; fi
# shellcheck source=slurm/common.sh
. "$osler_home/slurm/common.sh"
python=${OSLER_PYTHON:-$osler_home/build/venv/bin/python}
[ -x "$python" ] || python=python3
if ! "$python" -c 'import h5py, matplotlib, pandas, scipy' 2> /dev/null; then
  printf 'slurm/study.sh: %s lacks the packages of analysis/requirements.txt, which the figures need; install them, or set OSLER_PYTHON\n' "$python" >&2
  exit 2
fi

# The pieces, a line each: name, names before it, file that says done, verb, arguments; a tab between fields. An empty
# field must not vanish, so that the tab may not be taken for white space.
pieces=$("$OSLER" plan "${configs[@]}" --world-size 1 --pieces | tr '\t' '\037')
study_dir=$("$OSLER" plan "${configs[@]}" --world-size 1 --print-config | sed -n '/^\[study\]/,/^\[/s/^dir = //p')

run_here() { # NAME VERB ARGUMENTS...
  say "$1"
  shift
  run_osler "$@" || true # it leaves the code in osler_code
  if [ "$osler_code" -ne 0 ]; then exit "$osler_code"; fi
}

declare -A job_of=()
submit() { # NAME BEFORE VERB ARGUMENTS...
  local name=$1 before=$2 verb=$3 dependency='' piece arguments=() run_dir=()
  shift 3
  for piece in $before; do
    if [ -n "${job_of[$piece]:-}" ]; then dependency+=:${job_of[$piece]}; fi
  done
  for argument in "$@"; do
    case $argument in
      --run.dir=*) run_dir=("${argument#--run.dir=}") ;; # the first argument of the training scripts
      *) arguments+=("$argument") ;;
    esac
  done
  job_of[$name]=$(sbatch --parsable "--job-name=osler-${name//\//-}" ${dependency:+"--dependency=afterok$dependency" --kill-on-invalid-dep=yes} \
    "${sbatch_options[@]}" "$osler_home/slurm/$verb.sbatch" "${run_dir[@]}" "${arguments[@]}")
  say "$name: job ${job_of[$name]}${dependency:+ after ${dependency#:}}"
}

while IFS=$'\037' read -r -a fields <&3; do
  name=${fields[0]} before=${fields[1]} done_file=${fields[2]}
  if [ -e "$done_file" ]; then
    say "$name: done"
  elif [ "$mode" = local ]; then
    run_here "$name" "${fields[@]:3}"
  else
    submit "$name" "$before" "${fields[@]:3}"
  fi
done 3<<< "$pieces"

draw=("$python" "$osler_home/analysis/study.py" --output "$study_dir/figures" "$study_dir")
if [ "$mode" = local ]; then
  say 'tables and figures'
  "${draw[@]}"
else
  # afterany: a study with holes is drawn too, and its page names them.
  all=$(IFS=:; printf '%s' "${job_of[*]}")
  printf -v command ' %q' "${draw[@]}"
  job=$(sbatch --parsable --job-name=osler-figures ${all:+"--dependency=afterany:$all"} --wrap "cd $(printf '%q' "$osler_home") &&$command")
  say "tables and figures: job $job"
fi
