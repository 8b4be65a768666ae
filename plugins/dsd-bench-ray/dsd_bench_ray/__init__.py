"""A plugin of dsd-bench: the executor ``ray``."""
