#!/usr/bin/env bash
# The whole method on this machine: makes .venv, installs the package, runs every stage, prints the result.
# Extra arguments go to the run: bash launch/local.sh --config=configs/tiny.py:direct_answers --workdir=runs/direct_answers
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3.11}"
command -v "$python" >/dev/null || python=python3
config=configs/tiny.py workdir=runs/tiny rest=()
for arg in "$@"; do
  case "$arg" in
    --config=*) config="${arg#--config=}" ;;
    --workdir=*) workdir="${arg#--workdir=}" ;;
    *) rest+=("$arg") ;;
  esac
done
[ -x .venv/bin/python ] || "$python" -m venv .venv
if [ ! -e .venv/installed ] || [ setup.py -nt .venv/installed ]; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -e .
  touch .venv/installed
fi
# Large pages for what XLA allocates each step: on virtual machines page faults can cost a quarter of a step.
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"
.venv/bin/python -m selfexec_jax.main --config="$config" --workdir="$workdir" ${rest[@]+"${rest[@]}"}
if [ -e "$workdir/report.json" ]; then
  .venv/bin/python -m selfexec_jax.tools.report "$workdir"
  echo "report: $workdir/report.html"
fi
