#!/usr/bin/env bash
# The further steps, each from the average of the one before:
# ./run_ft.sh --ft_config conf/CA_MHFA_wavlmplus-FT.yaml --exp_dir EXP                  writes EXP-FT
# ./run_ft.sh --ft_config conf/CA_MHFA_wavlmplus-LMF.yaml --exp_dir EXP-FT --ft_name LMF  writes EXP-FT-LMF
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

stage=8 stop_stage=8
config=conf/CA_MHFA_wavlmplus.yaml
ft_config=conf/CA_MHFA_wavlmplus-FT.yaml
task=speaker
train_set=vox2_dev dev_set= eval_sets=vox1 trials="vox1_o vox1_e vox1_h"
noise_set=musan reverb_set=rirs
table=voxceleb_systems

. ../../../../tools/recipe.sh
