#!/usr/bin/env bash
# SUPERB style: back-ends on frozen front-ends, trained on VoxCeleb1 dev, without noise and reverberation:
# ./run_superb.sh --config conf/superb_ca_mhfa.yaml --upstream wavlm_large
set -euo pipefail

config=conf/superb_ca_mhfa.yaml
corpora=voxceleb noise_set= reverb_set=
train_set=vox1_dev trials=vox1_o
table=superb_speaker

. "$(dirname "${BASH_SOURCE[0]}")/run.sh"
