"""Torch modules and losses; `build` makes a model from its configuration."""
