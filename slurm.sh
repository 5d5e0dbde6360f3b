#!/bin/bash
# One command of fgcme on all machines of a SLURM job, joined to a Ray cluster for as long as the job runs:
#
#   sbatch slurm.sh prepare ravdess --root /shared/ravdess
#   sbatch --nodes=8 --gpus-per-node=4 slurm.sh tune ravdess --space joint --trials 512 scaling.gpus_per_worker=1
#   sbatch --nodes=2 --gpus-per-node=4 slurm.sh train ravdess scaling.gpus_per_worker=1
#   tail -F fgcme-JOB.log         watch it; what Ray says is in fgcme-JOB-ray.log
#   scancel JOB                   stop it; what is finished stays
#
# Give it in a folder that all machines mount, with fgcme on the path and MLFLOW_TRACKING_URI set: results go to the
# folder's `storage`. Three minutes before its time is up, the command is interrupted and the job queued again; then, as
# after the loss of a machine, it resumes. docs/cluster.md has the rest.
#SBATCH --job-name=fgcme
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
# Whole machines: at its end `ray stop` ends whatever you run by Ray on a machine.
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=12:00:00
#SBATCH --signal=B:USR1@180
#SBATCH --requeue
#SBATCH --output=fgcme-%j.log
#SBATCH --open-mode=append
set -euo pipefail

fail() {
    echo "slurm.sh: $*" >&2
    exit 1
}

[ $# -gt 0 ] || fail "no command was given, such as: sbatch slurm.sh tune ravdess --space joint"
command -v fgcme >/dev/null || fail "fgcme is not on the path: export PATH=\$PWD/.venv/bin:\$PATH, then sbatch again"
[ -n "${MLFLOW_TRACKING_URI:-}" ] || fail "MLFLOW_TRACKING_URI is not set: export the address of an MLflow server"

# Queued again: after its time was up, or a machine was lost.
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && [[ " $* " != *" --resume"* ]]; then
    case $1 in
    train) set -- "$@" --resume latest ;;
    tune | ablate) set -- "$@" --resume ;;
    esac
fi

# The address of this machine, the first of the job, which runs the command. Some machines know themselves by a loopback
# address, which others cannot reach.
address=$(getent ahostsv4 "$SLURMD_NODENAME" | awk '$1 !~ /^127\./ && !found++ { print $1 }')
[ -n "$address" ] || fail "$SLURMD_NODENAME has no address that other machines can reach: give one in slurm.sh"
export RAY_ADDRESS=$address:6379
# Without this token nothing can be run on the cluster.
RAY_AUTH_TOKEN=$(openssl rand -hex 32)
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED=0
# A folder of the job's own, on each machine: another user's in /tmp/ray cannot be written to.
export RAY_TMPDIR=/tmp/fgcme-$SLURM_JOB_ID
# Seconds for which machines wait for each other.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=600
ulimit -n "$(ulimit -Hn)"

log=$PWD/fgcme-$SLURM_JOB_ID.log
# The process of the command, once it runs.
driver=$(mktemp)
trap 'rm -f "$driver"' EXIT
# One task a machine. It starts Ray there with all CPUs that SLURM gives, and all GPUs that CUDA_VISIBLE_DEVICES names;
# the first machine's waits for the others, then runs the command, and takes Ray down after it.
# shellcheck disable=SC2016
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --cpus-per-task="$SLURM_CPUS_ON_NODE" --kill-on-bad-exit=1 \
    --output="fgcme-$SLURM_JOB_ID-ray.log" --open-mode=append --label \
    ray symmetric-run --address="$RAY_ADDRESS" --min-nodes="$SLURM_JOB_NUM_NODES" --num-cpus="$SLURM_CPUS_ON_NODE" -- \
    bash -c 'echo $$ > "$0"; exec fgcme "${@:2}" >> "$1" 2>&1' "$driver" "$log" "$@" &
step=$!

queue_again() {
    echo "slurm.sh: the time is nearly up; the command is interrupted, and resumes when the job runs again"
    # It ends its runs in MLflow.
    if [ -s "$driver" ] && kill "$(cat "$driver")"; then
        timeout 90 tail --pid="$(cat "$driver")" -f /dev/null || true
    fi
    scontrol requeue "$SLURM_JOB_ID"
}
trap queue_again USR1

status=0
wait "$step" || status=$?
[ -s "$driver" ] || fail "Ray did not start on all machines: fgcme-$SLURM_JOB_ID-ray.log says why"
# Where the command failed, Ray's own logs stay.
[ "$status" != 0 ] || srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 rm -rf "$RAY_TMPDIR"
exit "$status"
