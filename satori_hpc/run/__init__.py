"""A run directory: file names, order of the stages, running and recording them, locks, file writing."""
