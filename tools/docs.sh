#!/usr/bin/env bash
# Builds the site of docs/ into site/ (open site/index.html), after installing into .venv what that needs.
# bash tools/docs.sh serve: shows it at http://127.0.0.1:8000 instead, and builds again what changes.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/install.sh"
install_project "[docs,tested]"
cd "$root"
export NO_MKDOCS_2_WARNING=1  # setup.py asks for mkdocs below 2
if [ "${1:-build}" = serve ]; then
  exec "$venv/bin/python" -m mkdocs serve
fi
"$venv/bin/python" -m mkdocs build --strict --quiet --clean "$@"
echo "-- $root/site/index.html"
