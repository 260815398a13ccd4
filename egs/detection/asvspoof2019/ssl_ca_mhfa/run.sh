#!/usr/bin/env bash
# Back-ends on frozen self-supervised front-ends, ASVspoof 2019 LA:
# ./run.sh --corpus DIR --config conf/CA_MHFA.yaml --upstream wavlm_large
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

config=conf/CA_MHFA.yaml
train_set=train dev_set=dev eval_sets=eval
table=superb_deepfake

. ../../../../tools/recipe.sh
