"""Motifs: matrices, names and files; their hits in sequences; comparison with known motifs."""
