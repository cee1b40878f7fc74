"""Data sets: where labelled images come from, and how the host makes batches."""

from jaxcnn.data.datasets import DATASETS, load

__all__ = ["DATASETS", "load"]
