"""Training: state, step, devices, checkpoints, evaluation and the loop."""
