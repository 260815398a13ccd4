#!/usr/bin/env bash
# Detectors on many public corpora, from their official layouts to one page:
#   bash tools/benchmark.sh --corpora DIR --models "exp/a exp/b" --out bench --sets "decro in_the_wild" \
#     --data "dev=data/dev" --more "--fix_on dev --window 64600 --export arena"
# DIR/<name> holds each corpus of tools/layouts.yaml as it was released; its train and dev sets are not scored.
# `prepare` goes to tools/prepare/corpus.py (--allow_problems), `data` adds folders that are prepared already, `more` goes
# to `wedefense benchmark`, where sets are called by their names, after that of the corpus where they do not begin with it:
# decro.en_eval, j_spaw_la. Run it again to go on after an interruption, or with further models and sets: what was read
# and scored is kept (delete bench/data/<name>.read to read a corpus again).
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
options="corpora models out sets prepare data more num_workers"
corpora='' models='' out='' sets='' prepare='' data='' more='' num_workers=2
. "$tools/parse_options.sh"
if [ -z "$models" ] || [ -z "$out" ] || [ -z "$sets$data" ] || { [ -n "$sets" ] && [ -z "$corpora" ]; }; then
  echo "usage: $0 --corpora DIR --models \"MODEL ...\" --out DIR --sets \"NAME ...\" [--data \"NAME=DIR ...\"]" \
    "[--more \"OPTIONS\"]" >&2
  exit 2
fi

folders=()
for name in $sets; do
  if [ ! -e "$out/data/$name.read" ]; then
    python "$tools/prepare/corpus.py" "$name" --corpus "$corpora/$name" --out "$out/data/$name" \
      --num_workers "$num_workers" $prepare
    touch "$out/data/$name.read"
  fi
  for folder in "$out/data/$name"/*/; do
    set=$(basename "$folder")
    case $set in *train | *dev) continue ;; "$name"*) called=$set ;; *) called=$name.$set ;; esac
    folders+=("$called=${folder%/}")
  done
done
python -m wedefense.cli benchmark --model $models --sets $data ${folders[@]+"${folders[@]}"} --out "$out" $more
