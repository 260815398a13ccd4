#!/usr/bin/env bash
# Where is it fake? SLS on self-supervised front-ends, PartialSpoof: ./run.sh --corpus DIR --config conf/SLS_wavlmplus.yaml
set -euo pipefail

corpora=partialspoof
config=conf/SLS_wavlmplus.yaml
segment_labels=segment_labels/SET_seglab_0.01.npy

. "$(dirname "${BASH_SOURCE[0]}")/../../../../tools/recipe.sh"
