#!/usr/bin/env bash
# The second stage of fine-tuning: run.sh first, then this, which starts from its average and writes <exp_dir>-FT.
set -euo pipefail

stage=8 stop_stage=8
ft_config=conf/MHFA-FT.yaml

. "$(dirname "${BASH_SOURCE[0]}")/run.sh"
