"""Uses trained networks: prediction, evaluation and export."""
