"""`python -m satori_hpc` is the same program as `satori-hpc`."""

from satori_hpc.cli import main

main()
