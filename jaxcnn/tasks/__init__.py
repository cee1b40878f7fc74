"""What a model is trained to do: targets, loss and metrics."""

from jaxcnn.tasks.classification import METRICS, Classification

TASKS = {"classification": Classification}

__all__ = ["METRICS", "TASKS", "Classification"]
