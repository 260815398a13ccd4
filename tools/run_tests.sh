#!/usr/bin/env bash
# Installs into .venv (made where it is missing), checks the code with ruff (see pyproject.toml) and runs the tests;
# arguments go to pytest.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/install.sh"
install_project "[test]"
cd "$root"
echo "-- checking the code with $("$venv/bin/ruff" --version)"
"$venv/bin/ruff" check wedefense tools tests egs setup.py
echo "-- running the tests"
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}  # threads that spin while they wait slow down tests of several ranks
exec "$venv/bin/python" -m pytest "$@"
