#!/usr/bin/env bash
# SUPERB style: back-ends on frozen front-ends, trained on VoxCeleb1 dev:
# ./run_superb.sh --config conf/superb_ca_mhfa.yaml --upstream wavlm_large
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

config=conf/superb_ca_mhfa.yaml
task=speaker
train_set=vox1_dev dev_set= eval_sets=vox1 trials=vox1_o
table=superb_speaker

. ../../../../tools/recipe.sh
