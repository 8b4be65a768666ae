"""A plugin of dsd-bench: pruners of whole channels and heads, wherever they lead."""
