#!/usr/bin/env bash
# MHFA on self-supervised front-ends, PartialSpoof: ./run.sh --corpus DIR --config conf/MHFA_wavlmplus.yaml
set -euo pipefail

corpora=partialspoof
config=conf/MHFA_wavlmplus_advised.yaml
table=${table:-partialspoof_frozen}

. "$(dirname "${BASH_SOURCE[0]}")/../../../../tools/recipe.sh"
