"""What a person sees of a run: log lines, tables and plots, made of plain results."""
