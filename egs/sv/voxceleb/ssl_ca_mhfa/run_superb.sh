#!/usr/bin/env bash
# SUPERB style: back-ends on frozen front-ends, trained on VoxCeleb1 dev, without noise and reverberation:
# ./run_superb.sh --config conf/superb_ca_mhfa.yaml --upstream wavlm_large
set -euo pipefail

config=conf/superb_ca_mhfa.yaml
corpora=voxceleb noise_set= reverb_set=
# SUPERB scores plain cosines, on the list before it was cleaned; the cleaned one is scored beside it.
train_set=vox1_dev trials="vox1_o_original vox1_o" cohort=none
table=superb_speaker table_sets=vox1_o=vox1_o_original

. "$(dirname "${BASH_SOURCE[0]}")/run.sh"
