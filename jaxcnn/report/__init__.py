"""Presents results to people: log lines, tables and plots."""
