"""Interactions as tracks of a genome browser."""
