#!/usr/bin/env bash
# Installs what the tests need and runs the suite; --all adds the long tests. Other arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3.11}"
command -v "$python" >/dev/null || python=python3
marks=(-m "not long") rest=()
for arg in "$@"; do
  if [ "$arg" = --all ]; then marks=(); else rest+=("$arg"); fi
done
[ -x .venv/bin/python ] || "$python" -m venv .venv
if [ ! -e .venv/installed-dev ] || [ setup.py -nt .venv/installed-dev ]; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
  touch .venv/installed-dev
fi
.venv/bin/ruff check .
.venv/bin/lint-imports
# two workers take seven tenths of the time of one on two cores; each keeps to a run of tests, for what a file
# prepares once
exec .venv/bin/python -m pytest -q -n 2 --dist worksteal ${marks[@]+"${marks[@]}"} ${rest[@]+"${rest[@]}"}
