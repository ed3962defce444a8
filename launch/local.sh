#!/usr/bin/env bash
# The whole method on this machine: makes .venv, installs the package, runs every stage, prints the result.
# Extra arguments go to the run: bash launch/local.sh --config=configs/tiny.py:direct_answers --workdir=runs/direct_answers
# --hosts=N runs it as N processes that work as the hosts of a pod do; logs of all but the first are in the workdir.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3.11}"
command -v "$python" >/dev/null || python=python3
config=configs/tiny.py workdir=runs/tiny hosts=1 rest=()
for arg in "$@"; do
  case "$arg" in
    --config=*) config="${arg#--config=}" ;;
    --workdir=*) workdir="${arg#--workdir=}" ;;
    --hosts=*)
      hosts="${arg#--hosts=}"
      [[ "$hosts" =~ ^[1-9][0-9]*$ ]] || { echo "launch/local.sh: $arg: a number from 1 on" >&2; exit 2; }
      ;;
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
run=(.venv/bin/python -m selfexec_jax.main --config="$config" --workdir="$workdir" ${rest[@]+"${rest[@]}"})
if [ "$hosts" = 1 ]; then
  "${run[@]}"
else
  at="127.0.0.1:$((20000 + RANDOM % 10000))" pids=()
  mkdir -p "$workdir"
  for ((i = hosts - 1; i >= 0; i--)); do
    there=("${run[@]}" --hosts="$hosts" --host="$i" --coordinator="$at")
    if [ "$i" = 0 ]; then "${there[@]}" & else "${there[@]}" 2> "$workdir/host-$i.log" & fi
    pids+=($!)
  done
  trap 'kill -TERM "${pids[@]}" 2> /dev/null' TERM INT
  code=0
  for pid in "${pids[@]}"; do
    until wait "$pid" || { ended=$?; ! kill -0 "$pid" 2> /dev/null; }; do :; done # a trap ends a wait too
    [ "${ended:-0}" = 0 ] || code="$ended"
  done
  [ "$code" = 0 ] || exit "$code"
fi
if [ -e "$workdir/report.json" ]; then
  .venv/bin/python -m selfexec_jax.tools.report "$workdir"
  echo "report: $workdir/report.html"
fi
