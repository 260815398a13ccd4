#!/usr/bin/env bash
# The mini recipe: a small corpus made on the spot, a small detector, every stage of the large recipes.
set -euo pipefail

config=${config:-conf/mhfa_full.yaml}

. "$(dirname "${BASH_SOURCE[0]}")/../../../tools/recipe.sh"
