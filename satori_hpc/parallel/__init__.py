"""One process or many: worlds (one process, MPI, torch.distributed), Dask, signals, memory."""
