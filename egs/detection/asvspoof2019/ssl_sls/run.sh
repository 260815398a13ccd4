#!/usr/bin/env bash
# XLS-R 300M and SLS, trained on ASVspoof 2019 LA, tested on four corpora: ./run.sh --corpus DIR
# DIR holds LA/, ASVspoof2021_{LA,DF}_eval/, keys/ and release_in_the_wild/ (links will do).
set -euo pipefail

corpora="asvspoof2019 asvspoof2021 in_the_wild"
config=conf/SLS_v1.yaml
eval_sets="eval asvspoof2021_la asvspoof2021_df in_the_wild"
table=xlsr_sls

. "$(dirname "${BASH_SOURCE[0]}")/../../../../tools/recipe.sh"
