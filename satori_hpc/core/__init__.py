"""Arrays in, arrays out: no file, no MPI, no Dask, no command line."""
