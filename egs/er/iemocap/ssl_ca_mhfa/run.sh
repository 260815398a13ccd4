#!/usr/bin/env bash
# Emotions, IEMOCAP, five folds and their mean: ./run.sh --corpus DIR --config conf/ca_mhfa.yaml --upstream wavlm_large
set -euo pipefail

task=classes folds="1 2 3 4 5"
corpora=iemocap
config=conf/ca_mhfa.yaml
table=superb_emotion table_sets=iemocap=eval

. "$(dirname "${BASH_SOURCE[0]}")/../../../../tools/recipe.sh"
