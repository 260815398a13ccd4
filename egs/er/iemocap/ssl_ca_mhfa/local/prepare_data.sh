#!/usr/bin/env bash
# Stage 1: the tables of the official folder layout. The corpus comes from https://sail.usc.edu/iemocap
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../../../../tools" && pwd)
options="data corpus num_workers"
data=data corpus='' num_workers=2
. "$tools/parse_options.sh"

if [ -z "$corpus" ]; then
  echo "say where IEMOCAP lies: --corpus DIR (DIR/Session1/sentences/wav/...)" >&2
  exit 2
fi
python "$tools/prepare/iemocap.py" --corpus "$corpus" --out "$data" --num_workers "$num_workers"
