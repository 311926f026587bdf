"""The user's table of chromosome sizes: which chromosomes are taken, and whether the genome is the one it is for."""

import dataclasses

from satori_hpc.config import Genome as Settings
from satori_hpc.errors import InputError, Problems
from satori_hpc.run import Run
from satori_hpc.stores import chrom_sizes, genome_names
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
    # Counted by length: most names of such a table are of small scaffolds, which many genomes leave out.
    place, _ = genome_names.places(
        path, sizes, genome, allow_missing=settings.allow_missing_chromosomes, unit="bp", told=0
    )
    for (name, size), number in zip(sizes.items(), place.tolist(), strict=True):
        if number >= 0 and size != genome.lengths[number]:
            problems.add(f"{name} has {size:,} bp in the table, {genome.lengths[number]:,} in the genome")
    problems.raise_any()
    named = {genome.names[number] for number in place.tolist() if number >= 0}
    kept = tuple(
        name
        for name in genome.names
        if name in named
        and name not in settings.without_chromosomes
        and (not settings.chromosomes or name in settings.chromosomes)
    )
    if not kept:
        raise InputError(
            f"{path}: none of its chromosomes ({', '.join(list(sizes)[:5])}) is taken of {genome.path} "
            f"({', '.join(genome.names[:5])}); use files of one genome, and names of one style"
        )
    return dataclasses.replace(settings, chromosomes=kept, without_chromosomes=())
