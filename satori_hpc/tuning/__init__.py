"""Many networks: searches of hyperparameters, ensembles."""
