#!/usr/bin/env bash
# Installs into .venv (made where it is missing), checks the code with ruff and mypy (see pyproject.toml), runs the
# tests in two processes, each file in one of them; arguments go to pytest (-n 8: in eight, -n 0: in this one).
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/install.sh"
install_project "[test]"
cd "$root"
echo "-- checking the code with $("$venv/bin/ruff" --version)"
"$venv/bin/ruff" check wedefense tools tests egs setup.py
echo "-- checking the types with $("$venv/bin/mypy" --version); seen as Any:" \
  "$("$venv/bin/python" -c 'import re; print(*re.findall(r"([a-z0-9]+)\.\*", open("pyproject.toml").read()))')"
"$venv/bin/mypy"
echo "-- running the tests"
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}  # threads that spin while they wait slow down tests of several ranks
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$venv/bin/python" -m pytest -n 2 --dist loadfile "$@"
