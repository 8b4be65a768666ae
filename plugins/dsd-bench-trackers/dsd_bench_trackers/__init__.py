"""A plugin of dsd-bench: observers that show runs in TensorBoard, Weights & Biases and MLflow."""
