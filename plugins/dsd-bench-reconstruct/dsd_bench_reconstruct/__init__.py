"""A plugin of dsd-bench: a pruner that gives the remaining weights new values."""
