#!/usr/bin/env bash
# LFCC and a small ResNet on ASVspoof 2019 LA: ./run.sh --corpus DIR   (DIR holds LA/)
set -euo pipefail

corpora=asvspoof2019
config=conf/resnet18.yaml

. "$(dirname "${BASH_SOURCE[0]}")/../../../../tools/recipe.sh"
