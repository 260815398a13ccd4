#!/usr/bin/env bash
# MHFA on WavLM, trained together, SpoofCeleb: ./run.sh --corpus DIR   (DIR also holds musan/ and RIRS_NOISES/)
set -euo pipefail

corpora="spoofceleb musan rirs_noises" noise_set=musan reverb_set=rirs
config=conf/MHFA_wavlm.yaml

. "$(dirname "${BASH_SOURCE[0]}")/../../../../tools/recipe.sh"
