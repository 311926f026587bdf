"""Checks of a run and of this machine."""
