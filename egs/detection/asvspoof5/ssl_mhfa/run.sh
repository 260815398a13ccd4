#!/usr/bin/env bash
# MHFA on WavLM, trained together, ASVspoof 5: ./run.sh --corpus DIR   (DIR also holds musan/ and RIRS_NOISES/)
set -euo pipefail

corpora="asvspoof5 musan rirs_noises" noise_set=musan reverb_set=rirs
config=conf/MHFA_wavlm.yaml
table=asvspoof5_leaderboard

. "$(dirname "${BASH_SOURCE[0]}")/../../../../tools/recipe.sh"
