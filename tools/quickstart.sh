#!/usr/bin/env bash
# From a fresh clone to a table and a report: installs into .venv and runs the mini recipe.
# Options are those of the recipe, as in: bash tools/quickstart.sh --stage 3 --num_epochs 2
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/install.sh"
install_project "[tested]"
echo "-- running egs/detection/mini/run.sh"
bash "$root/egs/detection/mini/run.sh" "$@"
