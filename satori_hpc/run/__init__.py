"""A run directory: what is called what, the stages in order, running and recording them, locks, files."""
