#!/usr/bin/env bash
# Same set-up and build as quickstart.sh, then all tests. Arguments go to ctest, e.g. ./test.sh -L unit -R store
set -euo pipefail
cd "$(dirname "$0")"
./quickstart.sh --setup tests/requirements.txt
printf '[tests ] ctest --preset release -j %s %s\n' "$(nproc)" "$*"
exec ctest --preset release -j "$(nproc)" "$@"
