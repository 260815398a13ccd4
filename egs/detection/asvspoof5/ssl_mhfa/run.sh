#!/usr/bin/env bash
# MHFA on WavLM, trained together, ASVspoof 5: ./run.sh --corpus DIR   (DIR also holds musan/ and RIRS_NOISES/)
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

config=conf/MHFA_wavlm.yaml
train_set=train dev_set=dev eval_sets=eval
noise_set=musan reverb_set=rirs
table=asvspoof5_leaderboard

. ../../../../tools/recipe.sh
