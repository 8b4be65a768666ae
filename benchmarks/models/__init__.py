"""What dsd-bench makes of other people's models."""
