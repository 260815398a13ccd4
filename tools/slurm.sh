#!/usr/bin/env bash
# A recipe on several nodes under Slurm. Copy it, set the numbers of your cluster, and submit it from the recipe's folder:
#   sbatch ../../../../tools/slurm.sh ./run.sh --stage 3 --config conf/MHFA_wavlmplus.yaml
#SBATCH --job-name=wedefense
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

# One task on each node starts that node's ranks; training resumes by itself when the job is requeued.
first_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
devices=$(seq -s, 0 $((${SLURM_GPUS_ON_NODE:-1} - 1)))  # without GPUs: one rank on each node's CPUs
port=$((20000 + SLURM_JOB_ID % 400 * 30))               # 30 for each job, of which every launch takes the next
export first_node devices port
srun --kill-on-bad-exit=1 bash -c '"$@" --nnodes "$SLURM_NNODES" --node_rank "$SLURM_NODEID" --rdzv_endpoint "$first_node:$port" --gpus "[$devices]"' \
  recipe "$@"
