"""The checks of each kind, in a module of the kind's name."""
