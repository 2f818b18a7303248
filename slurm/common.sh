# Shared by the batch scripts: starts the program under Slurm, turns the early signal into "save and stop", and
# requeues the job while the program says that it is not finished. Sourced, never run by itself.
# shellcheck shell=bash
#
# What a caller may set beforehand (in the environment of sbatch or in sites/<OSLER_SITE>.sh):
#   OSLER_SITE       file of slurm/sites/ without .sh            (generic)
#   OSLER            the executable                              (build/release/osler, else build/cuda/osler)
#   OSLER_LAUNCHER   srun or mpirun                              (srun)
#   OSLER_RANKS      how many mpirun starts                      (what it finds: the job's tasks)
#   OSLER_MAX_RESTARTS  give up after that many requeues         (100)

osler_home=${osler_home:?set by the script that sources this file}
: "${OSLER_SITE:=generic}"
# shellcheck source=slurm/sites/generic.sh
. "$osler_home/slurm/sites/$OSLER_SITE.sh"
if [ -z "${OSLER:-}" ]; then
  OSLER=$osler_home/build/release/osler
  [ -x "$OSLER" ] || OSLER=$osler_home/build/cuda/osler
fi
: "${OSLER_LAUNCHER:=srun}" "${OSLER_MAX_RESTARTS:=100}"

# Slurm 22.05's default PMIx fence lets 1 to 22 % of the starts die in MPI_Init; the ring fence none.
export SLURM_PMIX_FENCE="${SLURM_PMIX_FENCE:-ring}"
# Without --cpus-per-task it stays unset: the program then takes its share of the cores that it may run on.
if [ -n "${SLURM_CPUS_PER_TASK:-}" ]; then export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$SLURM_CPUS_PER_TASK}"; fi
ulimit -c 0 # core files hold text of patients

print_header() {
  printf '== %s job %s restart %s on %s (%s tasks), %s, launcher %s\n' "$(date -Is)" "${SLURM_JOB_ID:-none}" \
    "${SLURM_RESTART_COUNT:-0}" "${SLURM_JOB_NODELIST:-$(hostname)}" "${SLURM_NTASKS:-1}" "$OSLER" "$OSLER_LAUNCHER"
}

start_launcher() {
  case $OSLER_LAUNCHER in
    # --kill-on-bad-exit: without it the ranks that are left hang for ever when one dies.
    srun) exec srun --mpi=pmix --kill-on-bad-exit=1 "$OSLER" "$@" ;;
    # mpirun inherits sbatch's --export=NONE through this variable and then cannot start its daemons.
    mpirun) unset SLURM_EXPORT_ENV; exec mpirun ${OSLER_RANKS:+-n "$OSLER_RANKS"} "$OSLER" "$@" ;;
    *) printf 'OSLER_LAUNCHER=%s: use srun or mpirun\n' "$OSLER_LAUNCHER" >&2; exit 2 ;;
  esac
}

# run_osler ARGUMENTS...: runs to the end and leaves the exit code in $osler_code.
# Bash runs a trap only between commands, so the launcher goes to the background and `wait` is what gets interrupted.
run_osler() {
  local launcher
  print_header
  start_launcher "$@" &
  launcher=$!
  # shellcheck disable=SC2064  # the number of this launcher is wanted now
  trap "kill -USR1 $launcher 2> /dev/null" USR1 TERM
  while :; do
    wait "$launcher"
    osler_code=$?
    kill -0 "$launcher" 2> /dev/null || break
  done
  trap - USR1 TERM
  printf '== %s exit code %s\n' "$(date -Is)" "$osler_code"
}

# died_without_progress RUN_DIR: true when the launcher was torn down for the third time in a row since the newest
# checkpoint. (srun -K hides the code of the one rank that failed behind the 143 of those it killed.)
died_without_progress() {
  local newest last='' count=0
  newest=$(find "$1/checkpoints" -maxdepth 1 -name 'step_*' 2> /dev/null | sort | tail -n 1)
  if [ -e "$1/torn_down" ]; then { read -r count; read -r last; } < "$1/torn_down"; fi
  if [ "$last" != "$newest" ]; then count=0; fi
  count=$((count + 1))
  mkdir -p "$1" && printf '%s\n%s\n' "$count" "$newest" > "$1/torn_down"
  [ "$count" -ge 3 ]
}

# finish_or_requeue RUN_DIR: leaves the script. RUN_DIR/done is written only at the true end of the work.
#   there: 0 · code 75 (saved), or the launcher was torn down (> 128): requeue · anything else: that code, for a person
finish_or_requeue() {
  if [ -e "$1/done" ]; then exit 0; fi
  if [ "$osler_code" -ne 75 ] && [ "$osler_code" -le 128 ]; then
    if [ "$osler_code" -eq 0 ]; then
      printf '== the program ended well before its last step (run.stop_at_step?): not requeued\n'
    fi
    exit "$osler_code"
  fi
  if [ "$osler_code" -ne 75 ] && died_without_progress "$1"; then
    printf '== torn down three times since the newest checkpoint: a person must look; remove %s to go on\n' "$1/torn_down" >&2
    exit "$osler_code"
  fi
  requeue "$OSLER_MAX_RESTARTS"
}

# requeue MOST: leaves the script; with the program's code after MOST restarts.
requeue() {
  if [ "${SLURM_RESTART_COUNT:-0}" -ge "$1" ]; then
    printf '== %s restarts: giving up\n' "$SLURM_RESTART_COUNT" >&2
    exit "$osler_code"
  fi
  printf '== not finished: requeue\n'
  scontrol requeue "$SLURM_JOB_ID" || exit "$osler_code"
  exit 0
}
