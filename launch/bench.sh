#!/usr/bin/env bash
# Starts an experiment in the way that fits this machine. `make bench` calls it. Holds no hyper-parameters.
# Environment: EXP   experiment, a name in configs/experiments or a path; empty: chosen by the doctor
#              GPUS  how many; empty: chosen by the doctor
#              ARGS  overrides, split at spaces: "--optim.lr=0.01 --blocks=2"
set -euo pipefail
cd "$(dirname "$0")/.."
echo "headstart: looking at this machine ..."

python=.venv/bin/python
if [[ ! -x $python ]]; then
    echo "headstart: there is no .venv here; make bench makes it" >&2
    exit 1
fi
export PYTHONUNBUFFERED=1

# One line, printed by `doctor` in bench/verbs.py: accelerate's file, the number of processes, a hardware layer or -, the
# experiment. What is for people goes to stderr.
choice=$($python -m bench doctor --choose --gpus "${GPUS:-}" "${EXP:-}")
read -r launch_file processes layer experiment <<<"$choice"
[[ $layer != - ]] || layer=
read -r -a overrides <<<"$layer ${ARGS:-}" # splits at spaces, and lets [0,1] and * be
# What is wrong or missing is found here, once and with exit code 2; behind accelerate every rank would, with code 1.
$python -m bench plan --fetch "$experiment" "--hardware.world_size=$processes" "${overrides[@]}" >/dev/null

# accelerate gives every process one CPU thread unless this says otherwise: share the CPUs among them.
if [[ -z ${OMP_NUM_THREADS:-} ]]; then
    threads=$(($(nproc) / processes))
    export OMP_NUM_THREADS=$((threads > 0 ? threads : 1))
fi

# Ctrl-C is for the trainer, which takes it back and says one line; accelerate would print its own traceback.
trap '' INT
# As a module and not as .venv/bin/accelerate, which holds an absolute path and breaks when the checkout moves.
exec $python -m accelerate.commands.launch --quiet --config_file "$launch_file" --num_processes "$processes" \
    -m bench run "$experiment" "--hardware.world_size=$processes" "${overrides[@]}"
