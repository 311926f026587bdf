"""Stage prepare: split the examples of a source and write dataset.zarr. Sources are named in config.prepare."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from satori_hpc.config.prepare import SOURCES
from satori_hpc.data import dataset, splits
from satori_hpc.data.dataset import Examples, blocks
from satori_hpc.data.source import Source, check_length, check_names, check_there
from satori_hpc.errors import InputError, Problems
from satori_hpc.log import logger
from satori_hpc.parallel.world import Runtime
from satori_hpc.registry import load
from satori_hpc.run import files
from satori_hpc.run.layout import Run


def prepare(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Make the data set, and for simulated sets the truth, from the [prepare] section of run.toml.

    Returns:
        numbers about the set, for people.

    Raises:
        InputError: a file or the split cannot be used; nothing is left behind.
        ConfigError: the rules of a simulated set cannot be obeyed.
    """
    world, source = runtime.world, SOURCES[run.config.prepare.source]
    world.run_on_root(lambda: _begin(run))
    make: Callable[[Run, Runtime], Any] = load(source.make)
    if source.together:
        made = make(run, runtime)
        summary = world.run_on_root(lambda: _write(run, made))
        world.run_on_root(lambda: _remove_parts(run))
        return summary

    def alone() -> dict[str, Any]:
        _remove_parts(run)  # what another kind of source, or a killed command, has left
        return _write(run, make(run, runtime))

    try:
        return world.run_on_root(alone)
    finally:
        _remove_parts(run)


def _begin(run: Run) -> None:
    files.sweep_partials(run.path)
    for path in (run.dataset, run.truth, run.excluded_records, run.chrom_sizes):
        files.remove(path)
    config = run.config.prepare
    check_there({f"prepare.{config.source}.{key}": map(run.resolve, names) for key, names in config.files().items()})


def _remove_parts(run: Run) -> None:
    """Remove intermediate files, once the data set is complete."""
    for folder in (run.dataset_parts, run.dataset_index):
        files.remove(folder)


def _write(run: Run, source: Source) -> dict[str, Any]:
    if not source.names_checked:
        check_names(run, label=source.whole.targets, sequence=source.whole.names)
    check_length(run, source.whole.length, path=run.config_file)
    split, about = _split(run, source)
    whole = dataclasses.replace(source.whole, split=split)
    if source.finish is not None:
        source.finish()
    if source.excluded_records is not None:
        source.excluded_records.write(run.excluded_records)
    dataset.write(run.dataset, whole)
    return {**about, **source.summary}


def _split(run: Run, source: Source) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the part of every example, and the number of examples per part."""
    config, whole = run.config.prepare, source.whole
    groups = splits.group_equal(np.asarray(whole.tokens[:])) if source.groups is None else source.groups
    at = whole.coordinates
    place = at.chrom.codes, at.start, at.end
    about: dict[str, Any] = {}

    def tally_of(split: np.ndarray) -> splits.Tally:
        return splits.tally((whole.labels[rows] for rows in blocks(len(whole))), split, targets=len(whole.targets))

    def usable(split: np.ndarray) -> bool:
        return not splits.complaints(tally_of(split), whole.task)

    def random() -> np.ndarray:
        fractions = {"valid_fraction": config.valid_fraction, "test_fraction": config.test_fraction}
        together = splits.join_groups(groups, splits.group_overlapping(*place))
        split = splits.random(together, **fractions, seed=run.config.seed)
        # Where nearly all overlap there are no such parts; then their number is told below.
        return split if usable(split) else splits.random(groups, **fractions, seed=run.config.seed)

    if config.split == "given":
        split = whole.split
    elif config.split == "random":
        split = random()
    elif config.split == "chromosome" and not config.valid_chromosomes:
        found, about = _whole_chromosomes(run, whole, usable)
        if found is None:
            logger.warning(
                "[prepare] split = 'chromosome': no parts of whole chromosomes have examples of both classes; split at "
                "random instead, with overlapping and with equal sequences kept together"
            )
        split = random() if found is None else found
    else:
        split = _by_chromosome(run, whole)
    tally = tally_of(split)
    problems = Problems(f"{run.config_file}: [prepare] split = {config.split!r} gives parts that cannot be used:")
    fix = {
        "random": "raise valid_fraction and test_fraction, give more examples, or change seed",
        "given": "give files that have them",
    }.get(config.split, "choose other chromosomes (split = 'chromosome', valid_chromosomes, test_chromosomes)")
    for complaint in splits.complaints(tally, whole.task):
        problems.add(f"{complaint}; expected both classes: {fix}")
    if problems and config.split in splits.PUBLISHED:
        problems.add(splits.published_rule(config.split, _chromosomes(whole)[0].tolist()))
    problems.raise_any()
    across = splits.shared_groups(groups, split)
    if across:
        logger.warning("%d sequences occur in more than one part of the split", across)
    overlapping = splits.count_overlapping_test(*place, split)
    if overlapping:
        logger.warning(
            "%d of %d test sequences overlap training sequences, so what the test part says is too good",
            overlapping,
            tally.examples[splits.TEST],
        )
    return split, {
        **_counts(whole, tally),
        **about,
        "test_overlapping_training": overlapping,
        "distinct_sequences": int(groups.max()) + 1,
        "sequences_in_several_parts": across,
    }


def _whole_chromosomes(
    run: Run, whole: Examples, usable: Callable[[np.ndarray], bool]
) -> tuple[np.ndarray | None, dict[str, Any]]:
    """Return a usable split by whole chromosomes, and its description; None without one.

    That of the literature for a genome that has one, else chromosomes are drawn.
    """
    config, chrom = run.config.prepare, whole.coordinates.chrom
    known = splits.known_genome(chrom.names)
    split = splits.published(np.array(chrom.names), known)[chrom.codes] if known else None
    if split is None or not usable(split):
        known, split = (
            None,
            splits.draw_chromosomes(
                chrom.codes,
                valid_fraction=config.valid_fraction,
                test_fraction=config.test_fraction,
                seed=run.config.seed,
            ),
        )
        if not usable(split):
            return None, {"split_by": "random"}
    about = {"split_by": f"chromosome, as published for {known}" if known else "chromosome"}
    for part, name in ((splits.VALID, "valid"), (splits.TEST, "test")):
        chosen = np.unique(chrom.codes[split == part])
        more = f" and {len(chosen) - 10} more" if len(chosen) > 10 else ""
        about[f"{name}_chromosomes"] = ", ".join(chrom.names[code] for code in chosen[:10]) + more
    return split, about


def _by_chromosome(run: Run, whole: Examples) -> np.ndarray:
    config = run.config.prepare
    names, place = _chromosomes(whole)
    if config.split in splits.PUBLISHED:
        return splits.published(names, config.split)[place]
    try:
        parts = splits.by_chromosome(names, valid=config.valid_chromosomes, test=config.test_chromosomes)
    except ValueError as error:
        raise InputError(
            f"{run.config_file}: [prepare] valid_chromosomes, test_chromosomes: {error}; correct the lists"
        ) from None
    return parts[place]


def _chromosomes(whole: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Return the names of the chromosomes of the examples, and the index of each example among them."""
    chrom = whole.coordinates.chrom
    present, place = np.unique(chrom.codes, return_inverse=True)
    return np.array([chrom.names[code] for code in present]), place


def _counts(whole: Examples, tally: splits.Tally) -> dict[str, Any]:
    """Count examples per part, and per class when there are two."""
    counts: dict[str, Any] = {
        "examples": len(whole),
        "length": whole.length,
        "task": whole.task,
        "targets": len(whole.targets),
    }
    for part, name in enumerate(dataset.SPLITS):
        counts[name] = int(tally.examples[part])
        ones = int(tally.ones[part].sum())
        if whole.task == "binary":
            counts[f"{name}_positives"] = ones
        else:
            counts[f"{name}_labels_per_example"] = round(ones / counts[name], 3)
    return counts
