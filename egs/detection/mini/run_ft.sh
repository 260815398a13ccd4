#!/usr/bin/env bash
# Fine-tuning in two stages: run.sh --config conf/mhfa.yaml first, then this, which starts from its average.
set -euo pipefail

stage=8 stop_stage=8
config=conf/mhfa.yaml
ft_config=conf/mhfa-FT.yaml

. "$(dirname "${BASH_SOURCE[0]}")/run.sh"
