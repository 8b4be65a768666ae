"""Whether everything runs on a GPU as on a CPU: one call, one table."""
