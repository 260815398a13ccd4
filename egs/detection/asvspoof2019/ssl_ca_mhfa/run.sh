#!/usr/bin/env bash
# Back-ends on frozen self-supervised front-ends, ASVspoof 2019 LA:
# ./run.sh --corpus DIR --config conf/CA_MHFA.yaml --upstream wavlm_large
set -euo pipefail

corpora=asvspoof2019
config=conf/CA_MHFA.yaml
table=superb_deepfake

. "$(dirname "${BASH_SOURCE[0]}")/../../../../tools/recipe.sh"
