#!/usr/bin/env bash
# Before a big job: correctness, speed, memory and a recipe on this machine, on one page. See gpu_check.py --help.
# The Python of .venv where there is one, else $PYTHON or python3.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
if [ -z "${PYTHON:-}" ] && [ -x "$root/.venv/bin/python" ]; then python=$root/.venv/bin/python; fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" "$root/tools/gpu_check.py" "$@"
