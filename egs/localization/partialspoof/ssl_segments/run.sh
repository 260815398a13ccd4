#!/usr/bin/env bash
# Where is it fake? BAM and gMLP at several resolutions, PartialSpoof: ./run.sh --corpus DIR --config conf/BAM_wavlm_large.yaml
set -euo pipefail

corpora=partialspoof
config=conf/BAM_wavlm_large.yaml
segment_labels=segment_labels/SET_seglab_0.01.npy
table=${table:-partialspoof_localization}

. "$(dirname "${BASH_SOURCE[0]}")/../../../../tools/recipe.sh"
