#!/usr/bin/env bash
# The second stage of fine-tuning: run.sh first, then this, which starts from its average and writes <exp_dir>-FT.
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"

stage=8 stop_stage=8
config=conf/MHFA_wavlmplus.yaml
ft_config=conf/MHFA_wavlmplus-FT.yaml
train_set=train dev_set=dev eval_sets=eval
table=partialspoof_finetuned

. ../../../../tools/recipe.sh
