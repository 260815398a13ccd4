#!/usr/bin/env bash
# Every row of a published table, resumable: what is done is not done again.
#   tools/reproduce.sh superb_deepfake --corpus DIR --devices "0 1 2 3"
# The steps of each row stand in egs/rows.txt; the filled table goes to egs/<table>.md. `wedefense table` lists tables.
# Rows are shared out over the GPUs of --devices, one run on each at a time. Further --key value go to every run.
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$tools")
usage() { sed -n '2,6s/^# *//p' "$0"; }
case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  '' | -*) usage >&2; exit 2 ;;  # a table comes first
esac
table=$1
shift
options="corpus devices only"
corpus='' devices=0 only=''  # only: rows whose name contains this
overrides=()
. "$tools/parse_options.sh"
if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -x "$root/.venv/bin/python" ]; then
  export PATH="$root/.venv/bin:$PATH"
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

steps=$(awk -F'|' -v table="$table" -v only="$only" '$1 == table && index($2, only)' "$root/egs/rows.txt")
if [ -z "$steps" ]; then echo "egs/rows.txt has no row of table '$table'${only:+ with '$only'}" >&2; exit 2; fi

# One step: its experiment is whole once results.json lies in it. A lock keeps rows that share it from doing it twice.
run_step() {  # recipe, experiment, command
  local recipe=$root/egs/$1 experiment=$2 command=$3 words
  mkdir -p "$recipe/$(dirname "$experiment")"
  (
    flock 9
    if [ -s "$recipe/$experiment/results.json" ]; then exit 0; fi
    echo "== $1 $experiment (GPU $CUDA_VISIBLE_DEVICES)"
    mapfile -t words < <(xargs -n 1 printf '%s\n' <<<"$command")  # words in quotes are one
    case ${words[0]} in *_ft.sh) words+=(--stage 8 --stop_stage 8) ;; *) words+=(--stage 3 --stop_stage 7) ;; esac
    bash "$recipe/${words[0]}" "${words[@]:1}" ${overrides[@]+"${overrides[@]}"} >"$recipe/$experiment.log" 2>&1 ||
      { echo "== $experiment FAILED, see $recipe/$experiment.log" >&2; exit 1; }
  ) 9>"$recipe/$experiment.lock"
}

# A worker for each device takes the next row as soon as it is free.
mapfile -t names < <(cut -d'|' -f2 <<<"$steps" | awk '!seen[$0]++')
queue=$(mktemp -d)
trap 'rm -rf "$queue"' EXIT
echo 0 >"$queue/next"

take() {
  (
    flock 9
    number=$(<"$queue/next")
    echo $((number + 1)) >"$queue/next"
    echo "$number"
  ) 9>"$queue/lock"
}

run_rows() {  # GPU
  local number name recipe experiment command code=0
  export CUDA_VISIBLE_DEVICES=$1
  while number=$(take) && [ "$number" -lt "${#names[@]}" ]; do
    while IFS='|' read -r _ name recipe experiment command; do
      if [ "$name" != "${names[$number]}" ]; then continue; fi
      run_step "$recipe" "$experiment" "$command" </dev/null || { code=1; break; }
    done <<<"$steps"
  done
  return "$code"
}

if [ -n "$corpus" ]; then
  corpus=$(cd "$corpus" && pwd)
  cut -d'|' -f3,5 <<<"$steps" | sed 's/ .*//; s/_ft//' | sort -u | while IFS='|' read -r recipe script; do
    bash "$root/egs/$recipe/$script" --stage 1 --stop_stage 2 --corpus "$corpus" </dev/null
  done
fi
read -ra list <<<"$devices"
workers=() failed=0
for device in "${list[@]}"; do
  run_rows "$device" &
  workers+=($!)
done
for worker in "${workers[@]}"; do wait "$worker" || failed=1; done

# A row's numbers are those of its last step.
filled=() sets=()
while IFS='|' read -r name recipe experiment; do
  if [ -s "$root/egs/$recipe/$experiment/results.json" ]; then filled+=("$name=$root/egs/$recipe/$experiment"); fi
done < <(awk -F'|' '{ last[$2] = $3 "|" $4 } END { for (name in last) print name "|" last[name] }' <<<"$steps")
case $table in
  superb_emotion) sets=(--rename iemocap=eval) ;;
  superb_speaker) sets=(--rename vox1_o=vox1_o_original) ;;
esac
python -m wedefense.cli table --table "$table" ${filled[@]+--filled "${filled[@]}"} ${sets[@]+"${sets[@]}"} \
  >"$root/egs/$table.md"
echo "wrote egs/$table.md"
exit "$failed"
