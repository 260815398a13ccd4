#!/usr/bin/env bash
# Stage 1: the tables of the official folder layout. The corpus comes from https://doi.org/10.5281/zenodo.4817532
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../../../../tools" && pwd)
options="data corpus num_workers"
data=data corpus='' num_workers=2
. "$tools/parse_options.sh"

if [ -z "$corpus" ]; then
  echo "say where PartialSpoof lies: --corpus DIR (DIR/train/con_wav/..., DIR/protocols/...)" >&2
  exit 2
fi
python "$tools/prepare/partialspoof.py" --corpus "$corpus" --out "$data" --num_workers "$num_workers"
