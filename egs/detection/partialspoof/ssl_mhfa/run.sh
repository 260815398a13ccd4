#!/usr/bin/env bash
# MHFA on self-supervised front-ends, PartialSpoof: ./run.sh --corpus DIR --config conf/MHFA_wavlmplus.yaml
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

config=conf/MHFA_wavlmplus.yaml
train_set=train dev_set=dev eval_sets=eval
table=partialspoof_frozen

. ../../../../tools/recipe.sh
