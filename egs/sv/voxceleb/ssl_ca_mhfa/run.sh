#!/usr/bin/env bash
# Speaker verification, VoxCeleb: ./run.sh --corpus DIR   (DIR holds vox1_*, vox2_*, the trials, musan/, RIRS_NOISES/)
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

config=conf/CA_MHFA_wavlmplus.yaml
task=speaker
train_set=vox2_dev dev_set= eval_sets=vox1 trials="vox1_o vox1_e vox1_h"
noise_set=musan reverb_set=rirs
table=voxceleb_systems

. ../../../../tools/recipe.sh
