#!/usr/bin/env bash
# Back-ends on the encoder of Whisper, ASVspoof 2019 LA: ./run.sh --corpus DIR --config conf/MHFA.yaml
set -euo pipefail

corpora=asvspoof2019
config=conf/MHFA.yaml

. "$(dirname "${BASH_SOURCE[0]}")/../../../../tools/recipe.sh"
