#!/usr/bin/env bash
# Makes the boards of the embedded data anew, seeds 0-5: one with 50 epochs a round, one with 200 for
# what trains from scratch in each. Run it from the top of the repository, with the distributions
# of plugins/ installed; finished runs in ./runs are reused.
# Where a row has other results (of another machine, say), submit refuses: --replace as an argument
# replaces them.
set -euo pipefail

methods=(
  ""
  "--reg kd"
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
  "--stop interpolation-gate"
  "--reg kd --stop entropy-gate"
  "--reg kd --stop patience"
  "--schedule cosine"
  "--schedule one-cycle"
  "--choose one-se"
  "--reg kd --choose one-se"
  "--choose max-drop:0.01"
  # dsd-bench-taylor
  "--pruner taylor"
  # dsd-bench-reconstruct
  "--pruner obs"
  # dsd-bench-robust
  "--reg label-smoothing:0.8"
  "--reg gce:0.7"
  "--reg mixup:8"
  "--reg elr"
  "--reg kd --teacher-reg label-smoothing:0.8"
  "--optimizer sam:0.05"
  "--optimizer sam:0.5"
  # dsd-bench-ratios
  "--pruner lamp"
  "--pruner erk"
  "--pruner uniform"
  "--pruner random-at"
  # dsd-bench-entropy
  "--pruner nepenthe"
  "--reg attention-transfer"
  # dsd-bench-structured
  "--pruner channels-l1 --rounds 5"
  "--pruner channels-fpgm --rounds 5"
  # dsd-bench-dynamic
  "--updater gmp:start=before"
)
scratch=(
  ""
  "--reg kd"
  "--pruner random"
  "--pruner random-at"
  "--pruner structured-l1 --rounds 5"
  "--perturber rewind:step=0"
  "--perturber reinit"
  # dsd-bench-at-init
  "--pruner snip"
  "--pruner grasp"
  "--pruner synflow"
  # dsd-bench-dynamic
  "--updater gmp --perturber rewind"
  "--pruner random:scope=layer --perturber rewind --updater rigl:20"
  "--pruner random:scope=layer --perturber rewind --updater set"
)

add() {
  # shellcheck disable=SC2086 # the words are options
  ids=$(dsd-bench run $1 --seeds "${SEEDS:-0-5}" --json | python3 -c '
import json, sys
print(*(run["run_id"] for run in json.load(sys.stdin)["runs"]))')
  # shellcheck disable=SC2086
  dsd-bench submit $ids "${@:2}"
}
for method in "${methods[@]}"; do add "$method" "$@"; done
for method in "${scratch[@]}"; do add "$method --retrain-epochs 200" "$@"; done
dsd-bench leaderboard
