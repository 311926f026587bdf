"""From a network to the scores of all pairs of sites in every example: methods, plan and store."""
