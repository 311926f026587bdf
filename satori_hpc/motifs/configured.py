"""Load the motif collections that a run's configuration names."""

from satori_hpc.motifs import collection, readers
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


def candidates(run: Run) -> Collection:
    """Read the motifs whose pairs a run can call: those of the network, or those that its filters are named after.

    What is tested without the network must be tested over these, or the two are not comparable.

    Raises:
        InputError: the motifs cannot be used.
    """
    return of_network(run) or for_names(run)
