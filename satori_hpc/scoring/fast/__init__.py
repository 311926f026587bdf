"""Gradients and secants of a network along straight paths between two inputs, without autograd.

`Network` runs all nodes of some paths forward and takes multipliers back, by one rule or another (`rules`). Values of
nodes are concatenated along the first axis, node by node: (N * R, ...), N nodes of R paths; multipliers (S * R, ...),
one for each of S segments (secants) or nodes (gradients).
"""

from satori_hpc.scoring.fast.network import Network
from satori_hpc.scoring.fast.rules import Rule

__all__ = ["Network", "Rule"]
