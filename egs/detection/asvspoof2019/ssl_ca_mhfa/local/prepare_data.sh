#!/usr/bin/env bash
# Stage 1: the tables of the official folder layout. The corpus comes from https://doi.org/10.7488/ds/2555
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../../../../tools" && pwd)
options="data corpus num_workers"
data=data corpus='' num_workers=2
. "$tools/parse_options.sh"

if [ -z "$corpus" ]; then
  echo "say where ASVspoof 2019 LA lies: --corpus DIR (DIR/LA/ASVspoof2019_LA_train/flac/...)" >&2
  exit 2
fi
python "$tools/prepare/asvspoof2019.py" --corpus "$corpus" --out "$data" --num_workers "$num_workers"
