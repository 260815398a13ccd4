# The stages of every recipe, written once. A recipe's run.sh sets its variables and sources this file.
#
#   0 fetch what may be fetched (only when asked for: --stage 0)
#   1 prepare data   2 lists or shards   3 train   4 average and embed   5 logits   6 LLR
#   7 metrics and report   8 fine-tune from the average of this experiment (run_ft.sh)
#   9 beside a row of the published table
#
# `corpora` names the corpora of stage 1 (readers in tools/prepare, rows of tools/layouts.yaml); a recipe that needs
# more has a local/prepare_data.sh. With `segment_labels` stage 1 writes `segments` of every set too; stage 4 then
# scores segments, and stage 7 judges them, where the config localises.
# `task` says what is scored: detection (5 to 7 as above), speaker (7 scores the trials, from the embeddings) or
# classes (5 logits, 7 accuracy). With `folds` every stage but the first runs for each of them, in data/fold<n> and
# exp_dir/fold<n>, and their mean stands in exp_dir. On several nodes (`nnodes`) the same call runs on each; the first does
# all that one process does, the others wait for it wherever all ranks work (training, embeddings).
set -euo pipefail
set -E  # the trap below holds in functions too

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$tools")
if [ -z "${called_from:-}" ]; then
  called_from=$PWD
  cd "$(dirname "${BASH_SOURCE[1]}")"  # the recipe's folder
fi

# What a recipe may set before, and what its user may set by --name value.
options="stage stop_stage config ft_config ft_name upstream exp_dir data corpus data_type gpus num_avg checkpoint \
num_workers device nnodes node_rank rdzv_endpoint skip_bad train_set dev_set eval_sets table row norm top_n quality cohort folds model \
fork labels as_trained"
stage=${stage:-1} stop_stage=${stop_stage:-7}
ft_config=${ft_config:-} exp_dir=${exp_dir:-} data=${data:-data} corpus=${corpus:-}
data_type=${data_type:-raw} gpus=${gpus:-} num_avg=${num_avg:-} checkpoint=${checkpoint:-}
num_workers=${num_workers:-2} device=${device:-auto} skip_bad=${skip_bad:-false}
nnodes=${nnodes:-1} node_rank=${node_rank:-0} rdzv_endpoint=${rdzv_endpoint:-}
nodes_wait=86400  # seconds that nodes wait for the first, which may be preparing data
train_set=${train_set:-train} dev_set=${dev_set-dev} eval_sets=${eval_sets:-eval}
task=${task:-detection} folds=${folds:-} ft_name=${ft_name:-FT} upstream=${upstream:-} table=${table:-} row=${row:-}
fork=${fork:-}               # a folder: begin a new training there, from the last weights of --exp_dir
labels=${labels:-}           # what the words of utt2lab mean: "ai=spoof human=bonafide"
as_trained=${as_trained:-false}  # true: score the weights though settings or training data are others by now
corpora=${corpora:-}
prepare=${prepare:-local/prepare_data.sh}  # what stage 1 runs instead, where it exists
segment_labels=${segment_labels:-}         # where the corpus says which stretches of its SET are fake, for localisation
noise_set=${noise_set:-} reverb_set=${reverb_set:-}      # folders of $data that augmentation takes its recordings from
table_sets=${table_sets:-}                               # sets that the table calls otherwise: iemocap=eval
trials=${trials:-} norm=${norm:-none} top_n=${top_n:-300} quality=${quality:-}  # speaker: see speaker_stage
model=${model:-}              # a published detector to score in stage 4, in the place of one that stage 3 trains
cohort=${cohort:-$train_set}  # speaker: the set whose mean embedding is subtracted; none: nothing is
overrides=()
recipe_name=$0
recipe_arguments=("$@")
. "$tools/parse_options.sh"

if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -x "$root/.venv/bin/python" ]; then
  export PATH="$root/.venv/bin:$PATH"
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
if ! python -c 'import importlib.util as u, sys; sys.exit(not (u.find_spec("wedefense") and u.find_spec("torch")))'; then
  echo "error: $(command -v python || echo python): WeDefense is not installed there. Activate the environment that has\
 it (. DIR/bin/activate), or install it: \`pip install WHEEL_OR_GIT_URL\`, in a clone \`bash tools/quickstart.sh\`" >&2
  exit 2
fi

# Whether the user said --NAME.
given() { [[ " ${recipe_arguments[*]-} " = *" --$1"[\ =]* ]]; }

# Values that this script itself decides by.
expect() {  # name, pattern, the values in words
  if ! [[ "${!1}" =~ ^($2)$ ]]; then echo "$0: --$1 takes $3, got '${!1}'" >&2; exit 2; fi
}
for name in skip_bad as_trained; do expect "$name" "true|false" "true or false"; done
expect data_type "raw|shard" "raw or shard"
expect nnodes "[1-9][0-9]{0,4}" "a number of machines"
expect node_rank "[0-9]{1,5}" "the number of this machine, from 0 on"

# A path named from the recipe's folder if it is there, else from the folder the user stands in.
find_file() {
  if [ -e "$1" ] || [[ "$1" = /* ]]; then echo "$1"; else echo "$called_from/$1"; fi
}
config=$(find_file "$config")
if [ -n "$ft_config" ]; then ft_config=$(find_file "$ft_config"); fi
if [ -n "$checkpoint" ]; then checkpoint=$(find_file "$checkpoint"); fi
if [ -n "$corpus" ]; then corpus=$(find_file "$corpus"); fi
if given data; then data=$(find_file "$data"); fi
if given exp_dir; then exp_dir=$(find_file "$exp_dir"); fi
if [ -n "$fork" ]; then fork=$(find_file "$fork"); fi
if [ -n "$model" ]; then
  if [ "$task" != detection ]; then echo "--model: only detectors are scored so" >&2; exit 2; fi
  if [ -e "$(find_file "$model")" ]; then model=$(find_file "$model"); fi
fi

wedefense() { python -m wedefense.cli "$@"; }

# Whether this node has a part in a stage.
takes_part() { [ "$node_rank" -eq 0 ] || [[ "$1" =~ ^[348]$ ]]; }

launched=0
# The same command on every rank: one process alone, or several as torchrun starts them. Each launch over nodes has a
# port of its own, so that a node that is ahead never meets the launcher that is about to end.
launch() {
  local ranks endpoint
  ranks=$(wedefense config --config "$1" --print num_gpus "${settings[@]}")
  shift
  if [ "$ranks" -eq 1 ] && [ "$nnodes" -eq 1 ]; then
    python -m "$@"
  elif [ "$nnodes" -eq 1 ]; then
    python "$tools/launch.py" --standalone --nproc_per_node "$ranks" -m "$@"
  else
    endpoint=${rdzv_endpoint%:*}:$((${rdzv_endpoint##*:} + launched))
    launched=$((launched + 1))
    echo "node $node_rank of $nnodes, $ranks ranks: the nodes meet at $endpoint"
    python "$tools/launch.py" --nnodes "$nnodes" --node_rank "$node_rank" --nproc_per_node "$ranks" \
      --rdzv_backend static --rdzv_endpoint "$endpoint" --rdzv_conf "timeout=$nodes_wait" -m "$@"
  fi
}

# Config settings of this call, for every command that reads the config.
set_settings() {
  settings=(--exp_dir "$1" --data_type "$data_type"
    --train_data "$data/$train_set/$data_type.list" --train_label "$data/$train_set/utt2lab")
  if [ -n "$dev_set" ]; then
    settings+=(--val_data "$data/$dev_set/$data_type.list" --val_label "$data/$dev_set/utt2lab")
  fi
  if [ -n "$noise_set" ]; then settings+=(--noise_data "$data/$noise_set/wav.scp"); fi
  if [ -n "$reverb_set" ]; then settings+=(--reverb_data "$data/$reverb_set/wav.scp"); fi
  if [ -n "$gpus" ]; then settings+=(--gpus "$gpus"); fi
  if [ -n "$num_avg" ]; then settings+=(--num_avg "$num_avg"); fi
  settings+=(${overrides[@]+"${overrides[@]}"})
}

begin() {
  begun=true
  stage_title="stage $1: $2"
  stage_number=$1
  stage_start=$SECONDS
  echo "== $stage_title"
}

finish() {
  echo "== $stage_title: done in $((SECONDS - stage_start)) s${1:+, wrote $1}"
}

failed() {
  local code=$?
  trap - ERR
  if [ "$code" -eq 0 ]; then code=1; fi
  if [ "$BASH_SUBSHELL" -gt 0 ]; then exit "$code"; fi
  echo "== ${stage_title:-start}: FAILED with exit code $code" >&2
  if [ -n "${stage_number:-}" ]; then
    echo "   the cause stands above; once it is mended, go on with --stage $stage_number" >&2
  fi
  exit "$code"
}

run_stage() { [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ] && takes_part "$1"; }

begun=false
nothing_done() {
  echo "$recipe_name: no stage from $stage to $stop_stage to run: stages of this recipe lie from 0 to 9, and" \
    "--stage must not be above --stop_stage" >&2
  exit 2
}
if ! [[ "$stage" =~ ^[0-9]$ && "$stop_stage" =~ ^[0-9]+$ && "$stage" -le "$stop_stage" ]]; then nothing_done; fi

if [ "$node_rank" -ge "$nnodes" ]; then
  echo "--nnodes $nnodes --node_rank $node_rank: of N nodes the ranks are 0 to N-1" >&2
  exit 2
fi
if [ "$nnodes" -gt 1 ] && ! [[ "$rdzv_endpoint" =~ ^.+:[0-9]+$ ]]; then
  echo "--nnodes $nnodes wants --rdzv_endpoint HOST:PORT, of the node with --node_rank 0" >&2
  exit 2
fi
if [ "$node_rank" -gt 0 ]; then begun=true; fi  # a stage without a part for this node is no mistake

need_corpus() {
  if [ -z "$corpora" ] && [ -e "$prepare" ]; then echo "nothing is fetched: stage 1 makes the data" >&2; return 2; fi
  if [ -z "$corpora" ]; then
    echo "this recipe reads no corpus: $tools/prepare/table.py --table FILE --out $data makes data of a table" >&2
    return 2
  fi
  if [ -n "$corpus" ]; then return; fi
  echo "say where the corpora lie: --corpus DIR ($corpora; --stage 0 --stop_stage 0 --corpus DIR fetches them there)" >&2
  return 2
}

prepare_stage() {
  local set
  read_corpora
  if [ -z "$segment_labels" ]; then return; fi
  for set in $train_set $dev_set $eval_sets; do
    wedefense segments "${corpus:-corpus}/${segment_labels//SET/$set}" --data_dir "$data/$set"
  done
}

read_corpora() {
  local name reader
  if [ -e "$prepare" ]; then
    bash "$prepare" --data "$data" --num_workers "$num_workers" ${corpus:+--corpus "$corpus"}
    return
  fi
  need_corpus
  for name in $corpora; do
    reader=("$tools/prepare/$name.py")
    if [ ! -e "${reader[0]}" ]; then reader=("$tools/prepare/corpus.py" "$name"); fi
    python "${reader[@]}" --corpus "$corpus" --out "$data" --num_workers "$num_workers"
  done
}

train_stage() {  # config, exp_dir, extra settings ...
  local config=$1 dir=$2
  shift 2
  local resume=()
  if [ -n "$checkpoint" ]; then resume=(--checkpoint "$checkpoint"); fi
  launch "$config" wedefense.bin.train --config "$config" --device "$device" "${settings[@]}" "$@" \
    ${resume[@]+"${resume[@]}"}
  finish "$dir/models, $dir/train.log, $dir/tensorboard"
}

# Are the lists and what lies in an experiment of what lies here now? Asked before a stage that builds on them.
check_stage() {  # stage, config, exp_dir
  if { [ "$1" -lt 3 ] && [ ! -e "$3/config.yaml" ]; } || [ "$node_rank" -gt 0 ]; then return; fi
  local sets=($dev_set $eval_sets) more=()
  if [ "$task" = speaker ] && [ "$cohort" != none ]; then sets+=("$cohort"); fi
  if [ "$skip_bad" = true ]; then more+=(--skip_bad); fi
  if [ "$as_trained" = true ]; then more+=(--as_trained); fi
  wedefense check --config "$2" --stage "$1" --data "$data" --train_sets "$train_set" --sets "${sets[@]}" \
    --task "$task" ${more[@]+"${more[@]}"} "${settings[@]}"
}

embed_stage() {  # config, exp_dir
  local dir=$2 set sets=() lists=() skip=() eval_frms
  if [ "$skip_bad" = true ]; then skip=(--skip_bad); fi
  if [ "$node_rank" -eq 0 ]; then
    wedefense average --config "$1" "${settings[@]}"
    if [ "$(wedefense config --config "$dir/config.yaml" --print use_pruning_loss)" = true ]; then
      wedefense prune --exp_dir "$dir" --trust
    fi
  fi
  eval_frms=$(wedefense config --config "$1" --print eval_frms "${settings[@]}")
  sets=($dev_set $eval_sets)
  if [ "$task" = speaker ] && [ "$cohort" != none ]; then sets+=("$cohort"); fi
  for set in "${sets[@]}"; do lists+=("$data/$set/$data_type.list"); done
  launch "$1" wedefense.bin.embed --exp_dir "$dir" --trust --device "$device" ${skip[@]+"${skip[@]}"} --sets "${sets[@]}" \
    --data "${lists[@]}" --data_type "$data_type" --eval_frms "$eval_frms"
  finish "$dir/models/avg_model.pt, $dir/embeddings"
}

# What the sets score by a published model, where stages 5 and 6 would put it.
score_model() {  # exp_dir
  local set
  for set in $dev_set $eval_sets; do
    mkdir -p "$1/posteriors/$set"
    wedefense score --model "$model" --format scores --out "$1/posteriors/$set/llr.txt" --device "$device" \
      "$data/$set/wav.scp"
  done
  finish "$1/posteriors/*/llr.txt"
}

wanted() { takes_part "$1" && { [ "$2" = all ] || run_stage "$1"; }; }  # stage, asked or all

score_stages() {  # exp_dir, asked or all
  local dir=$1
  if [ "$task" = speaker ]; then
    if wanted 7 "$2"; then speaker_stage "$dir"; fi
    return
  fi
  if wanted 5 "$2"; then
    begin 5 "logits"
    wedefense logits --exp_dir "$dir" --trust --sets $dev_set $eval_sets
    finish "$dir/posteriors/*/logits.scp"
  fi
  if [ "$task" = classes ]; then
    if wanted 7 "$2"; then class_stage "$dir"; fi
    return
  fi
  if wanted 6 "$2"; then
    begin 6 "log-likelihood ratios"
    wedefense llr --exp_dir "$dir" --sets $dev_set $eval_sets
    finish "$dir/posteriors/*/llr.txt"
  fi
  if wanted 7 "$2"; then results_stage "$dir"; fi
}

results_stage() {  # exp_dir
  begin 7 "metrics and report"
  wedefense results --exp_dir "$1" --data "$data" --dev_set "$dev_set" --sets $dev_set $eval_sets
  finish "$1/results.json, $1/report.html"
}

# Scores `$data/trials/<name>.txt` of all $trials: cosines less the mean of the cohort (the training set), and beside
# them those with it. `--norm asnorm` normalises by the speakers of the cohort; `--quality NAME` fits quality measures
# on those trials.
speaker_stage() {  # exp_dir
  local name set files=() durations=() more=()
  begin 7 "trials: scores, metrics and report"
  for name in $trials; do files+=("$data/trials/$name.txt"); done
  for set in $eval_sets; do durations+=("$data/$set/utt2dur"); done
  if [ "$cohort" != none ]; then more+=(--cohort "$cohort" --cohort_spk "$data/$cohort/utt2spk"); fi
  if [ "$norm" != none ]; then more+=(--norm "$norm" --top_n "$top_n"); fi
  if [ -n "$quality" ]; then more+=(--qmf "$data/trials/$quality.txt" --durations "${durations[@]}"); fi
  wedefense score_trials --exp_dir "$1" --sets $eval_sets --trials "${files[@]}" ${more[@]+"${more[@]}"}
  finish "$1/scores, $1/results.json, $1/report.html"
}

class_stage() {  # exp_dir
  begin 7 "accuracy"
  wedefense classify --exp_dir "$1" --data "$data" --sets $dev_set $eval_sets
  finish "$1/results.json, $1/report.html"
}

trap failed ERR
if [ -n "$upstream" ]; then overrides=(--dataset_args.ssl_args.upstream_args.name "$upstream" ${overrides[@]+"${overrides[@]}"}); fi
exp_dir=${exp_dir:-exp/$(basename "$config" .yaml)${upstream:+_$upstream}}
set_settings "$exp_dir"
wedefense config --config "$config" "${settings[@]}" >/dev/null
if [ -n "$ft_config" ]; then wedefense config --config "$ft_config" "${settings[@]}" >/dev/null; fi

if [ -n "$fork" ]; then
  overrides+=(--model_init "$(wedefense config --config "$config" --print newest_weights "${settings[@]}")")
  exp_dir=$fork
  set_settings "$exp_dir"
fi

if run_stage 0; then
  begin 0 "fetch ${corpora:-nothing}"
  need_corpus
  for name in $corpora; do python "$tools/download.py" "$name" "$corpus"; done
  finish "$corpus"
fi
if run_stage 1; then
  begin 1 "prepare data"
  prepare_stage
  finish "$data"
fi
train_and_score() {
  if [ "$stop_stage" -gt 2 ]; then check_stage "$stage" "$config" "$exp_dir"; fi
  if run_stage 2; then
    begin 2 "$data_type lists"
    for set in $train_set $dev_set $eval_sets; do
      wedefense make_list --data_dir "$data/$set" --data_type "$data_type" --num_workers "$num_workers" \
        --task "$task" ${labels:+--labels $labels}
    done
    finish "$data/*/$data_type.list"
  fi
  if [ -n "$model" ]; then
    if run_stage 4 && [ "$node_rank" -eq 0 ]; then
      begin 4 "score by $model"
      score_model "$exp_dir"
    fi
    if run_stage 7; then results_stage "$exp_dir"; fi
    return
  fi
  if run_stage 3; then
    begin 3 "train"
    train_stage "$config" "$exp_dir"
  fi
  if run_stage 4; then
    begin 4 "average and embed"
    embed_stage "$config" "$exp_dir"
  fi
  score_stages "$exp_dir" asked
  if run_stage 8; then
    if [ -z "$ft_config" ]; then echo "stage 8 needs --ft_config" >&2; exit 2; fi
    init=$exp_dir/models/avg_model.pt
    if [ "$(wedefense config --config "$exp_dir/config.yaml" --print use_pruning_loss)" = true ]; then
      init=$exp_dir/pruned_model/models/avg_model.pt
    fi
    exp_dir=$exp_dir-$ft_name
    set_settings "$exp_dir"
    begin 8 "fine-tune $init"
    train_stage "$ft_config" "$exp_dir" --model_init "$init"
    begin 8 "average and embed"
    embed_stage "$ft_config" "$exp_dir"
    score_stages "$exp_dir" all
  fi
}

if [ -z "$folds" ]; then
  train_and_score
else
  whole_data=$data whole_exp_dir=$exp_dir fold_dirs=()
  for fold in $folds; do
    echo "== fold $fold"
    data=$whole_data/fold$fold exp_dir=$whole_exp_dir/fold$fold
    set_settings "$exp_dir"
    train_and_score
    fold_dirs+=("$exp_dir")
  done
  exp_dir=$whole_exp_dir${exp_dir#"$whole_exp_dir/fold$fold"}
  if takes_part 7 && { run_stage 7 || run_stage 8; }; then
    begin 7 "mean of folds $folds"
    wedefense classify --average "${fold_dirs[@]}" --exp_dir "$exp_dir"
    finish "$exp_dir/results.json"
  fi
fi
if run_stage 9; then
  if [ -z "$table" ] || [ -z "$row" ]; then
    echo "stage 9 needs --row, and a table (wedefense table lists them)" >&2
    exit 2
  fi
  begin 9 "$exp_dir beside row '$row' of table '$table'"
  wedefense table --table "$table" --row "$row" --exp_dir "$exp_dir" ${table_sets:+--rename $table_sets}
  finish
fi
if ! "$begun"; then nothing_done; fi
