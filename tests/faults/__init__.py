"""Faults on purpose: sweeps are killed, put to sleep, starved, damaged, carried on and compared.

    python -m tests.faults --faults 1000 --seed 0 --json table.json

See docs/reliability.md.
"""
