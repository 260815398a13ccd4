#!/usr/bin/env bash
# Where is it fake? The corpus of detection/mini, a small detector that localises, every stage of the large recipes.
set -euo pipefail

config=${config:-conf/mhfa.yaml}
prepare=../../detection/mini/local/prepare_data.sh
segment_labels=segment_labels/SET_seglab_0.01.npy

. "$(dirname "${BASH_SOURCE[0]}")/../../../tools/recipe.sh"
