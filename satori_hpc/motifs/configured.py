"""Load the motif collections that a run's configuration names."""

import dataclasses
from collections.abc import Collection as Names

from satori_hpc.motifs import collection, readers
from satori_hpc.motifs import names as tf_names
from satori_hpc.motifs.collection import Collection
from satori_hpc.run.layout import Run


def for_names(run: Run) -> Collection:
    """Read the motifs that learned filters are named after, those of [motifs] database.

    Raises:
        InputError: the database cannot be used.
    """
    config = run.config.motifs
    return collection.read(
        config.database,
        run.resolve(config.database),
        release=config.jaspar_release,
        groups=config.jaspar_groups,
        key=f"{run.config_file}: [motifs] database",
    ).thinned(config.database_similarity_max)


def of_network(run: Run) -> Collection | None:
    """Read the motifs that the network starts from; None if it learns its filters.

    Raises:
        InputError: the motifs cannot be used.
    """
    known = run.config.model.known_motifs
    if known is None:
        return None
    table, settings = known
    return collection.read(
        settings.motifs,
        run.resolve(settings.motifs),
        release=readers.RELEASE,
        groups=settings.jaspar_groups,
        key=f"{run.config_file}: [model.{table}] motifs",
    ).thinned(settings.similarity_max)


def candidates(run: Run, named: Names[str]) -> Collection:
    """Read the motifs whose pairs a run can call: those of its network, or those that filters or sites are named after.

    What is tested without the network must be tested over these, or the two are not comparable. With learned filters
    beside known motifs, the motifs of TFs that only such a filter is named after come last.

    Args:
        run: its configuration.
        named: the TFs that its motifs and filters are named after.

    Raises:
        InputError: the motifs cannot be used.
    """
    known = of_network(run) if run.config.sites.source == "network" else None
    if known is None:
        return for_names(run)
    there = {tf_names.compared(name) for name in tf_names.of_motifs(known.motifs)}
    more = {tf_names.compared(name) for name in named} - there
    if not more:
        return known
    others = for_names(run)
    added = [
        motif
        for motif, name in zip(others.motifs, tf_names.of_motifs(others.motifs), strict=True)
        if tf_names.compared(name) in more
    ]
    return dataclasses.replace(
        known,
        motifs=[*known.motifs, *added],
        title=f"{known.title}, with {len(added)} more that learned filters are named after",
        sources=known.sources | others.sources,
    )
