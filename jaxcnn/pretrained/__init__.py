"""Weights of other libraries as variables of our networks."""
