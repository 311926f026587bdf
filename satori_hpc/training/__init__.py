"""Training: the stage, its loop and step, checkpoints, predictions and metrics."""
