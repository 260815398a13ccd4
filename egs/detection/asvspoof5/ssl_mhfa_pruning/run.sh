#!/usr/bin/env bash
# Hybrid pruning of WavLM with MHFA, ASVspoof 5: ./run.sh --corpus DIR   (DIR also holds musan/ and RIRS_NOISES/)
# Stage 4 averages, cuts and verifies; 5 to 7 score the cut detector, which lies in the experiment's pruned_model.
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

config=conf/MHFA_wavlm_s10.yaml
train_set=train dev_set=dev eval_sets=eval
noise_set=musan reverb_set=rirs
table=asvspoof5_leaderboard

. ../../../../tools/recipe.sh
