"""A plugin of dsd-bench: training that wrong labels mislead less, without a teacher."""
