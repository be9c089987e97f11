#!/usr/bin/env bash
# Gives the same work to this program and to the schedulers that are on the PATH (dkron, kala, dagu), one after the
# other, each alone on this machine with its state in a temporary directory:
#
#   bench/compare.sh                         2,000 jobs held, 200 due at once
#   bench/compare.sh -held 10000 -burst 500
#
# create: one request after the other, or a file written (dagu); list: all jobs; memory: resident, of all its processes, with
# the jobs held; first and last start: after the instant at which the jobs were due, by the jobs' own clock. What is not
# there is skipped with a line. Compare figures only if nothing else ran on the machine meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."

built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
make --no-print-directory binary OUT="$built/chronos" >&2
uname -srm >&2
nproc | sed 's/$/ cores/' >&2
go run ./internal/compare -chronos "$built/chronos" "$@"
