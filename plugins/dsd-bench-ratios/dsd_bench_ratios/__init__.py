"""A plugin of dsd-bench: pruners that differ in how many weights they leave to each layer."""
