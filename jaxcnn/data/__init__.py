"""Data sets: where labelled images come from, and how the host makes batches."""

from jaxcnn.data.datasets import DATASETS, checked, load

__all__ = ["DATASETS", "checked", "load"]
