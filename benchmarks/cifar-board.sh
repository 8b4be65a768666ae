#!/usr/bin/env bash
# Makes the boards of real images on two cores: CIFAR-10 with 20 % symmetric noise and CIFAR-10N's
# worse labels, both at 16 x 16 pixels with 5,000 train images. Run it from the top of the
# repository, with CIFAR (and CIFAR-10_human.pt) in ./data and the distributions of plugins/
# installed; finished runs in ./runs are reused, so it can be interrupted. Eleven of the methods
# train a curve of their own, which takes six to seven minutes a seed for magnitude on one core of an
# AMD EPYC with AVX512-BF16 when nothing else runs: some six core-hours a board. The others share
# those curves. Run so far: the methods that the boards have.
set -euo pipefail

size="size=16,train_size=5000,val_size=500,transform=none"
boards=(
  "--dataset cifar10:$size --noise symmetric:0.2"
  "--dataset cifar10n:worse,$size"
)
methods=(
  ""
  "--reg kd"
  "--reg kd:teacher=dense"
  "--stop patience"
  "--stop entropy-gate"
  "--stop interpolation-gate"
  "--reg kd --stop entropy-gate"
  "--reg kd:teacher=dense --stop entropy-gate"
  "--choose one-se"
  "--choose max-drop:0.01"
  "--reg kd --choose one-se"
  "--reg kd:teacher=dense --choose one-se"
  "--pruner random"
  "--pruner random --choose one-se"
  "--pruner gradient"
  "--pruner gradient --choose one-se"
  "--pruner magnitude:scope=layer"
  "--pruner structured-l1 --rounds 10"
  # dsd-bench-robust
  "--reg elr"
  "--reg elr --choose one-se"
  "--reg gce:0.7"
  "--reg label-smoothing:0.8"
  # dsd-bench-ratios
  "--pruner lamp"
)

for board in "${boards[@]}"; do
  for method in "${methods[@]}"; do
    # shellcheck disable=SC2086 # the words are options
    ids=$(dsd-bench run $board $method --precision bf16 --keep all --metric ece --seeds "${SEEDS:-0-4}" --json |
      python3 -c 'import json, sys; print(*(run["run_id"] for run in json.load(sys.stdin)["runs"]))')
    # shellcheck disable=SC2086
    dsd-bench submit $ids "$@"
  done
done
dsd-bench leaderboard
