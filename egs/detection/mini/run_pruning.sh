#!/usr/bin/env bash
# Pruning while fine-tuning: half of the encoder is removed. Stage 4 averages, cuts and verifies; 5 to 7 score the
# cut detector, which lies in the experiment's pruned_model.
set -euo pipefail

config=conf/mhfa_pruning.yaml

. "$(dirname "${BASH_SOURCE[0]}")/run.sh"
