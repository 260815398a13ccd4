#!/usr/bin/env bash
# LFCC and a small ResNet on ASVspoof 2019 LA: ./run.sh --corpus DIR   (DIR holds LA/)
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

config=conf/resnet18.yaml
train_set=train dev_set=dev eval_sets=eval

. ../../../../tools/recipe.sh
