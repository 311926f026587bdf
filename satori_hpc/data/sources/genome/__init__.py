"""Data sets from a genome and peaks or promoters."""
