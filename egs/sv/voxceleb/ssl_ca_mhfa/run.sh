#!/usr/bin/env bash
# Speaker verification, VoxCeleb: ./run.sh --corpus DIR   (DIR holds vox1_*, vox2_*, the trials, musan/, RIRS_NOISES/)
set -euo pipefail

task=speaker
corpora=${corpora:-voxceleb musan rirs_noises} noise_set=${noise_set-musan} reverb_set=${reverb_set-rirs}
config=${config:-conf/CA_MHFA_wavlmplus.yaml}
train_set=${train_set:-vox2_dev} dev_set= eval_sets=vox1 trials=${trials:-vox1_o vox1_e vox1_h}
table=${table:-voxceleb_systems}

. "$(dirname "${BASH_SOURCE[0]}")/../../../../tools/recipe.sh"
