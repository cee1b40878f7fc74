"""Data sets: where labelled images come from, and how the host makes batches."""
