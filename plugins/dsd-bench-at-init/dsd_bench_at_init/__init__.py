"""A plugin of dsd-bench: pruners that look at the network as it is initialised."""
