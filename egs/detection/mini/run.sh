#!/usr/bin/env bash
# The mini recipe: a small corpus made on the spot, a small detector, every stage of the large recipes.
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

config=conf/mhfa_full.yaml
train_set=train dev_set=dev eval_sets=eval

. ../../../tools/recipe.sh
