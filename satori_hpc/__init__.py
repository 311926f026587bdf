"""Cooperating transcription factors from attention networks, at cluster scale."""

__version__ = "0.1.0"
