"""Interactions against implanted pairs and tables of known ones."""
