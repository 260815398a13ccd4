#!/usr/bin/env bash
# Stage 1: the tables of the official folder layout. See README.md for where the corpora come from
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../../../../tools" && pwd)
options="data corpus num_workers"
data=data corpus='' num_workers=2
. "$tools/parse_options.sh"

if [ -z "$corpus" ]; then
  echo "say where the corpora lie: --corpus DIR (DIR/LA, DIR/ASVspoof2021_LA_eval, DIR/keys, DIR/release_in_the_wild)" >&2
  exit 2
fi
for name in asvspoof2019 asvspoof2021 in_the_wild; do
  python "$tools/prepare/$name.py" --corpus "$corpus" --out "$data" --num_workers "$num_workers"
done
