"""One run from its configuration to its end: Algorithms 1 and 2 and what they need."""
