"""Plugins that only watch, and each break one check."""
