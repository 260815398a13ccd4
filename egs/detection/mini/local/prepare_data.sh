#!/usr/bin/env bash
# Stage 1: make the corpus, which needs nothing from outside, and read it as the official PartialSpoof is read.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$(cd "$here/../../../../tools" && pwd)
options="data corpus num_workers"
data=data corpus=corpus num_workers=2
. "$tools/parse_options.sh"

python "$here/make_corpus.py" --out "$corpus" --num_workers "$num_workers"
python "$tools/prepare/corpus.py" partialspoof --subset --corpus "$corpus" --out "$data" \
  --num_workers "$num_workers"
