#!/usr/bin/env bash
# Stage 1: the tables of the official folder layout. The corpus comes from https://doi.org/10.5281/zenodo.14498691
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../../../../tools" && pwd)
options="data corpus num_workers"
data=data corpus='' num_workers=2
. "$tools/parse_options.sh"

if [ -z "$corpus" ]; then
  echo "say where the corpora lie: --corpus DIR (DIR/flac_T, DIR/ASVspoof5.train.tsv, ..., DIR/musan, DIR/RIRS_NOISES)" >&2
  exit 2
fi
for name in asvspoof5 musan rirs_noises; do
  python "$tools/prepare/$name.py" --corpus "$corpus" --out "$data" --num_workers "$num_workers"
done
