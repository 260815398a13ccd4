#!/usr/bin/env bash
# The further steps, each from the average of the one before:
# ./run_ft.sh --ft_config conf/CA_MHFA_wavlmplus-FT.yaml --exp_dir EXP                  writes EXP-FT
# ./run_ft.sh --ft_config conf/CA_MHFA_wavlmplus-LMF.yaml --exp_dir EXP-FT --ft_name LMF  writes EXP-FT-LMF
set -euo pipefail

stage=8 stop_stage=8
ft_config=conf/CA_MHFA_wavlmplus-FT.yaml

. "$(dirname "${BASH_SOURCE[0]}")/run.sh"
