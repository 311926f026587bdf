"""Motifs: their letters, names and files; where they are in sequences; which known motif one is like."""
