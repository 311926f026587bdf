"""Simulated data sets, with implanted pairs that are known."""
