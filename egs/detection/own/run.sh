#!/usr/bin/env bash
# Recordings of one's own: tools/prepare/table.py has read their table into data/; ./run.sh trains on them and reports.
set -euo pipefail

config=${config:-conf/resnet.yaml}
stage=2

. "$(dirname "${BASH_SOURCE[0]}")/../../../tools/recipe.sh"
