"""A plugin of dsd-bench: updaters, which change masks while a network is trained."""
