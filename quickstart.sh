#!/usr/bin/env bash
# Installs what is missing, builds, and runs the whole way once on a small invented world: text -> token shards ->
# base model -> continued pretraining -> evaluation -> table and figure. Repeating it is quick and safe.
#
#   ./quickstart.sh                            everything
#   ./quickstart.sh --setup [REQUIREMENTS...]  only install (also the named Python requirement files) and build
set -euo pipefail
cd "$(dirname "$0")"

readonly venv=build/venv
readonly work=build/quickstart
readonly configs=configs/quickstart
readonly osler=build/release/osler
readonly debian_packages=(
  g++ cmake ninja-build ccache libopenmpi-dev openmpi-bin libhdf5-dev libboost-program-options-dev libgtest-dev
  libgmock-dev libsentencepiece-dev nlohmann-json3-dev libspdlog-dev libfmt-dev libzstd-dev zlib1g-dev libssl-dev
  libicu-dev python3-venv pkg-config git shellcheck iproute2 zstd strace)

say() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }
fail() { printf 'quickstart.sh: %s\n' "$*" >&2; exit 1; }

install_debian_packages() {
  if ! command -v dpkg-query > /dev/null; then
    say 'not a Debian system: the compiler and libraries are expected to be there; CMake names what is not'
    return
  fi
  local package missing=()
  for package in "${debian_packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q '^install ok installed' || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2> /dev/null; then
      fail "these Debian packages are missing and neither root nor passwordless sudo is at hand: ${missing[*]}"
    fi
    as_root=(sudo -n)
  fi
  say "installing Debian packages: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > build/apt.log ||
    fail 'apt-get failed: see the lines above and build/apt.log'
}

# Each requirement file is installed once; a stamp named by its hash says so.
install_python_packages() {
  command -v python3 > /dev/null || fail 'python3 (3.10 or newer) is missing'
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "python3 is $(python3 -V 2>&1), but 3.10 or newer is needed"
  if [ ! -x "$venv/bin/pip" ]; then
    say "creating the Python environment $venv"
    python3 -m venv "$venv" || fail 'python3 -m venv failed: is the python3-venv package of this Python installed?'
  fi
  local file stamp wanted=() stamps=()
  for file in "$@"; do
    [ -r "$file" ] || fail "no requirement file $file"
    stamp="$venv/installed-$(sha256sum < "$file" | cut -c1-16)"
    if [ ! -e "$stamp" ]; then wanted+=(-r "$file") stamps+=("$stamp"); fi
  done
  if [ ${#wanted[@]} -eq 0 ]; then return; fi
  say "installing Python packages: ${wanted[*]}"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "${wanted[@]}"
  touch "${stamps[@]}"
}

build() {
  say 'building (build/release)'
  cmake --preset release > build/configure.log 2>&1 || { tail -n 40 build/configure.log >&2; fail 'CMake failed: build/configure.log'; }
  cmake --build --preset release -j "$(nproc)" -- --quiet
}

# Two ranks on whatever cores there are; the flags let Open MPI run as root and share cores.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_btl_vader_single_copy_mechanism=none
run() { mpirun -n 2 "$osler" "$@"; }

# Everything below $work follows from these files and the program: when they change it is made anew.
forget_if_changed() {
  local key
  key=$(find "$configs" -type f -name '*.py' -o -type f -name '*.ini' -o -type f -name '*.json' | LC_ALL=C sort | xargs sha256sum | sha256sum)
  if [ "$(cat "$work/key" 2> /dev/null)" != "$key" ]; then
    rm -rf "$work"
    mkdir -p "$work"
    printf '%s\n' "$key" > "$work/key"
  fi
}

# once NAME COMMAND...: runs the command unless it has succeeded before.
once() {
  local stamp="$work/$1.done"
  shift
  if [ ! -e "$stamp" ]; then
    "$@"
    touch "$stamp"
  fi
}

tokenize() {
  local name=$1 input=$2
  shift 2
  run tokenize --config "$configs/tokenize.ini" "--tokenize.input=$name:$input" "--tokenize.output=$work/tokens/$name" "$@"
}

main_job() {
  forget_if_changed
  say 'making the world: general text, clinical text, exam questions, tokenizer'
  once world "$venv/bin/python" "$configs/make_world.py" "$work/world" --tokenizer 3072
  say 'tokenizing'
  once tokens_general tokenize general "$work/world/general"
  once tokens_clinical tokenize clinical "$work/world/clinical"
  once tokens_general_valid tokenize general_valid "$work/world/validation/general"
  once tokens_clinical_valid tokenize clinical_valid "$work/world/validation/clinical"
  once tokens_instruct tokenize instruct "$work/world/instruct/train.jsonl" --tokenize.format=chat
  once tokens_instruct_valid tokenize instruct_valid "$work/world/instruct/valid.jsonl" --tokenize.format=chat
  say 'pretraining the base model on general text, and releasing it as a Hugging Face directory'
  run pretrain --config "$configs/base.ini"
  once release "$osler" convert --input "$work/runs/base" --output "$work/base_model"
  say 'the study: continued pretraining, fine-tuning with and without NEFTune, five ways of asking, every version'
  slurm/study.sh --local --ranks 2 "$configs/study.ini"
  cat "$work/study/figures/table_results.md" "$work/study/figures/table_contribution.md"
  say "done; page with all figures and tables: $work/study/figures/index.html"
}

mkdir -p build
requirements=(lib/requirements.txt analysis/requirements.txt)
setup_only=no
if [ "${1:-}" = --setup ]; then
  setup_only=yes
  shift
  requirements+=("$@")
elif [ $# -gt 0 ]; then
  fail "unknown argument $1; usage: ./quickstart.sh [--setup [REQUIREMENTS...]]"
fi
install_debian_packages
install_python_packages "${requirements[@]}"
say 'set-up complete'
build
say 'build complete'
if [ "$setup_only" = no ]; then main_job; fi
