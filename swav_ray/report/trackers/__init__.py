"""A run's figures in MLflow, Weights & Biases or Comet as well: `run.trackers`."""
