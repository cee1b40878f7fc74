"""Analyses networks: the table of layers and their receptive fields."""
