#!/usr/bin/env bash
# Detectors on many public corpora, from their official layouts to one page:
#   bash tools/benchmark.sh --corpora DIR --models "exp/a exp/b" --out bench --sets "decro in_the_wild" --more "--fix_on dev"
# DIR/<name> holds each corpus of tools/layouts.yaml as it was released; train and dev sets are not scored. `more` goes to
# `wedefense benchmark`. Run it again to go on after an interruption: what was read and scored is kept.
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
options="corpora models out sets more num_workers"
corpora='' models='' out='' sets='' more='' num_workers=2
. "$tools/parse_options.sh"
if [ -z "$corpora" ] || [ -z "$models" ] || [ -z "$out" ] || [ -z "$sets" ]; then
  echo "usage: $0 --corpora DIR --models \"MODEL ...\" --out DIR --sets \"NAME ...\" [--more \"OPTIONS\"]" >&2
  exit 2
fi

folders=()
for name in $sets; do
  python "$tools/prepare/corpus.py" "$name" --corpus "$corpora/$name" --out "$out/data/$name" --num_workers "$num_workers"
  for folder in "$out/data/$name"/*/; do
    case $(basename "$folder") in *train | *dev) ;; *) folders+=("$name.$(basename "$folder")=${folder%/}") ;; esac
  done
done
python -m wedefense.cli benchmark --model $models --sets "${folders[@]}" --out "$out" $more
