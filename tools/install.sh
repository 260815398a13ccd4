# Sourced by quickstart.sh and run_tests.sh: makes or reuses .venv and installs the project into it.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv

find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3.12 python3.11 python3.13 python3.10 python3 python; do
    if command -v "$candidate" >/dev/null 2>&1 &&
       "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null
    then
      echo "$candidate"
      return 0
    fi
  done
  echo "Python 3.10 to 3.13 with venv is needed and was not found; install it or set PYTHON=/path/to/python" >&2
  return 1
}

# What decides whether an installation is still good.
fingerprint() {
  cat "$root/setup.py" "$root/pyproject.toml" "$root/requirements.txt" | cksum
  echo "$1"
}

install_project() {  # extras, as "[test]" (which holds [tested])
  if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c '' 2>/dev/null; then
    local python
    python=$(find_python)
    echo "-- making $venv with $("$python" --version)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
  fi
  local wanted mark=$venv/.installed$1
  wanted=$(fingerprint "$1")
  if [ -f "$mark" ] && [ "$(cat "$mark")" = "$wanted" ] && "$venv/bin/python" -c 'import wedefense' 2>/dev/null; then
    echo "-- $venv is up to date"
  else
    echo "-- installing wedefense$1 and what it needs (about 5 GB the first time)"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$root$1"
    echo "$wanted" > "$mark"
  fi
}
