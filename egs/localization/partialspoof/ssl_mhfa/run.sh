#!/usr/bin/env bash
# Where is it fake? MHFA on self-supervised front-ends, PartialSpoof: ./run.sh --corpus DIR --config conf/MHFA_wavlmplus.yaml
set -euo pipefail

corpora=partialspoof
config=conf/MHFA_wavlmplus.yaml
segment_labels=segment_labels/SET_seglab_0.01.npy

. "$(dirname "${BASH_SOURCE[0]}")/../../../../tools/recipe.sh"
