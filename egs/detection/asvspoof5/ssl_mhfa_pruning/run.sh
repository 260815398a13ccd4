#!/usr/bin/env bash
# Hybrid pruning of WavLM with MHFA, ASVspoof 5: ./run.sh --corpus DIR   (DIR also holds musan/ and RIRS_NOISES/)
# Stage 4 averages, cuts and verifies; 5 to 7 score the cut detector, which lies in the experiment's pruned_model.
set -euo pipefail

corpora="asvspoof5 musan rirs_noises" noise_set=musan reverb_set=rirs
config=conf/MHFA_wavlm_s10_advised.yaml
table=asvspoof5_leaderboard

. "$(dirname "${BASH_SOURCE[0]}")/../../../../tools/recipe.sh"
