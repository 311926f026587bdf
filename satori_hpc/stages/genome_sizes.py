"""The user's table of chromosome sizes: which chromosomes are taken, and whether the genome is the one it is for."""

import dataclasses

from satori_hpc.config import Genome as Settings
from satori_hpc.errors import InputError, Problems
from satori_hpc.log import logger
from satori_hpc.run import Run
from satori_hpc.stores import chrom_sizes
from satori_hpc.stores.genome import Genome

KEY = "[prepare.genome] chrom_sizes"


def narrowed(run: Run, settings: Settings, genome: Genome) -> Settings:
    """`settings` with only those chromosomes that the table names, where there is one.

    Raises:
        InputError: the table cannot be read, is of another genome, or leaves no chromosome.
    """
    if settings.chrom_sizes is None:
        return settings
    path = run.resolve(settings.chrom_sizes)
    sizes = chrom_sizes.read(path, key=KEY)
    problems = Problems(f"{path}: not the sizes of {genome.path}; use tables of one assembly, or leave {KEY} away:")
    lengths = dict(zip(genome.names, genome.lengths.tolist(), strict=True))
    for name, size in sizes.items():
        if name in lengths and size != lengths[name]:
            problems.add(f"{name} has {size:,} bp in the table, {lengths[name]:,} in the genome")
    problems.raise_any()
    missing = [name for name in sizes if name not in lengths]
    if missing:
        logger.warning("%s: %d of %d chromosomes are not in the genome", path, len(missing), len(sizes))
    kept = tuple(
        name
        for name in genome.names
        if name in sizes
        and name not in settings.without_chromosomes
        and (not settings.chromosomes or name in settings.chromosomes)
    )
    if not kept:
        raise InputError(
            f"{path}: none of its chromosomes ({', '.join(list(sizes)[:5])}) is taken of {genome.path} "
            f"({', '.join(genome.names[:5])}); use files of one genome, and names of one style"
        )
    return dataclasses.replace(settings, chromosomes=kept, without_chromosomes=())
