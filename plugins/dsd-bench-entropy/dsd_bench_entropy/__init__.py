"""A plugin of dsd-bench: entropy by layer, pruning by it, and distillation of feature maps."""
