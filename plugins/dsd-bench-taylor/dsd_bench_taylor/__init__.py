"""A plugin of dsd-bench: the pruner ``taylor``, and what watches dead ReLU units."""
