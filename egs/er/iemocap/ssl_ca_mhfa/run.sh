#!/usr/bin/env bash
# Emotions, IEMOCAP, five folds and their mean: ./run.sh --corpus DIR --config conf/ca_mhfa.yaml --upstream wavlm_large
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

config=conf/ca_mhfa.yaml
task=classes folds="1 2 3 4 5"
train_set=train dev_set=dev eval_sets=eval
table=superb_emotion table_sets=iemocap=eval

. ../../../../tools/recipe.sh
