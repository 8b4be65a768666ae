#!/usr/bin/env bash
# Makes the board of the embedded data anew: 18 methods, seeds 0-5, 7 minutes of processor time.
# Run it from the top of the repository; finished runs in ./runs are reused. Where a row has other
# results (of another machine, say), submit refuses: --replace as an argument replaces them.
set -euo pipefail

methods=(
  ""
  "--pruner magnitude --reg kd"
  "--reg kd:teacher=dense"
  "--pruner random"
  "--pruner gradient"
  "--pruner magnitude:scope=layer"
  "--perturber rewind:step=0"
  "--perturber reinit"
  "--retrain-lr-scale 0.1"
  "--reg l1:weight=1e-4"
  "--reg l2:weight=1e-3"
  "--reg dropout"
  "--reg augment:cutout"
  "--pruner structured-l1 --rounds 5"
  "--stop patience"
  "--stop entropy-gate"
  "--reg kd --stop entropy-gate"
  "--reg kd --stop patience"
)
for method in "${methods[@]}"; do
  # shellcheck disable=SC2086 # the words are options
  ids=$(dsd-bench run $method --seeds 0-5 --json | python -c '
import json, sys
print(*(run["run_id"] for run in json.load(sys.stdin)["runs"]))')
  dsd-bench submit $ids "$@"
done
dsd-bench leaderboard
