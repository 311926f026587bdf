"""prepare: simulated sequences, those of files with their labels, or windows of a genome become dataset.zarr."""

import dataclasses
import functools
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc.config import FILES, Simulated
from satori_hpc.data import dataset, splits
from satori_hpc.data.dataset import Coordinates, Dataset, Examples, blocks
from satori_hpc.data.source import Room, Source, check_length, check_names, check_there, digests
from satori_hpc.data.sources import fasta_table
from satori_hpc.data.sources.arrays import arrays
from satori_hpc.data.sources.chipseq_folds import folds
from satori_hpc.data.sources.genome import stage as genome_stage
from satori_hpc.data.sources.simulate import implant, instances, pool, truth
from satori_hpc.errors import ConfigError, InputError, Problems
from satori_hpc.log import logger
from satori_hpc.motifs import collection, readers
from satori_hpc.motifs.motif import Motif
from satori_hpc.parallel.world import Runtime
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
    world = runtime.world
    world.lead(lambda: _begin(run))
    if run.config.prepare.source == "genome":
        made = genome_stage.make(run, runtime)
        summary = world.lead(lambda: _write(run, _there(made)))
        world.lead(lambda: genome_stage.finish(run))
        return summary
    try:
        return world.lead(lambda: _write(run, _read(run, runtime)))
    finally:
        genome_stage.finish(run)


def _read(run: Run, runtime: Runtime) -> Source:
    kind = run.config.prepare.source
    genome_stage.finish(run)  # what another kind of source, or a killed command, has left
    return SOURCES[kind](run, Room.of(runtime))


def _begin(run: Run) -> None:
    files.sweep_partials(run.path)
    for path in (run.dataset, run.truth, run.left_out, run.chrom_sizes):
        files.remove(path)
    check_there(_named(run))


def _named(run: Run) -> dict[str, list[Path]]:
    """The files that run.toml names for the source of this run, by key."""
    found = {}
    for key in FILES:
        if key.startswith(f"prepare.{run.config.prepare.source}."):
            names = operator.attrgetter(key)(run.config) or ()
            found[key] = [run.resolve(name) for name in ((names,) if isinstance(names, str) else names)]
    return found


def _write(run: Run, source: Source) -> dict[str, Any]:
    if run.config.prepare.source != "genome":  # whose names were checked before the sequences were read
        check_names(run, label=source.whole.targets, sequence=source.whole.names)
    split, about = _split(run, source)
    whole = dataclasses.replace(source.whole, split=split)
    if source.finish is not None:
        source.finish()
    if source.left_out is not None:
        source.left_out.write(run.left_out)
    dataset.write(run.dataset, whole)
    return {**about, **source.summary}


def _there(source: Source | None) -> Source:
    assert source is not None  # the leader has it
    return source


def _simulated(run: Run, _: Room) -> Source:
    config, seed = run.config.prepare.simulated, run.config.seed
    assert config is not None
    known = readers.jaspar(
        release=config.jaspar_release, collection=config.jaspar_collection, groups=config.jaspar_groups
    )
    motifs = pool.select(collection.thin(known, config.jaspar_similarity_max), config, seed=seed)
    pairs = pool.draw_roles(config, seed=seed)
    made = implant.simulate(_pwms(motifs, config), pairs, config, seed=seed)
    if made.mended:
        logger.info("%d of %d instances were mended towards the consensus", made.mended, len(made.instances.tf))
    count, length = made.tokens.shape
    whole = Dataset(
        tokens=made.tokens,
        labels=made.labels[:, None],
        split=np.zeros(count, dtype=np.uint8),
        names=[truth.header(example, length) for example in range(count)],
        coordinates=Coordinates(
            chrom=np.array([truth.sequence_id(example) for example in range(count)]),
            start=np.zeros(count, dtype=np.int64),
            end=np.full(count, length, dtype=np.int64),
            strand=np.ones(count, dtype=np.int8),
        ),
        targets=["label"],
        task="binary",
    )
    summary: dict[str, Any] = {
        "design": config.design,
        "tfs": config.tfs,
        "pairs": len(pairs.true),
        "decoys": len(pairs.decoy),
        "instances": len(made.instances.tf),
        "instances_mended": made.mended,
    }
    if config.design == "one-motif":
        summary["deciding_tf"] = motifs[pool.deciding_tf(config.tfs, seed=seed)].name
    write_truth = functools.partial(
        truth.write,
        run.truth,
        motifs,
        pairs=pairs,
        tokens=made.tokens,
        instances=made.instances,
        background=config.base_frequencies,
    )
    return Source(whole.stream(), summary, finish=write_truth)


def _from_files(run: Run, room: Room) -> Source:
    config = run.config.prepare.fasta
    assert config is not None
    paths = run.resolve(config.fasta), run.resolve(config.table)
    whole, summary, left_out = fasta_table.read(
        *paths,
        task=config.task,
        labels=config.labels,
        join=config.join,
        unlabelled=config.unlabelled,
        alphabet=run.config.prepare.alphabet,
        check=room.check_file,
    )
    check_length(run, whole.length, path=paths[0])
    return Source(whole.stream(), {**summary, "sources": digests(paths)}, left_out=left_out)


SOURCES = {"simulated": _simulated, "fasta": _from_files, "folds": folds, "arrays": arrays}


def _pwms(motifs: list[Motif], config: Simulated) -> list[instances.Pwm]:
    problems = Problems("[prepare.simulated] these motifs cannot be implanted:", ConfigError)
    made = []
    for motif in motifs:
        assert motif.counts is not None  # the pool takes no others
        try:
            made.append(
                instances.make_pwm(
                    motif.name,
                    motif.counts,
                    background=np.asarray(config.base_frequencies),
                    pseudocount=config.pseudocount,
                )
            )
        except ValueError as error:
            problems.add(f"{error}; raise motif_information_min")
    problems.raise_any()
    return made


def _split(run: Run, source: Source) -> tuple[np.ndarray, dict[str, Any]]:
    """The part of every example, and how many are in each."""
    config, whole = run.config.prepare, source.whole
    groups = splits.group_equal(np.asarray(whole.tokens[:])) if source.groups is None else source.groups
    place = whole.chrom.codes, whole.start, whole.end
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
    """A usable split by whole chromosomes, and which those are; None where there is none.

    That of the literature for a genome that has one, else chromosomes are drawn.
    """
    config, codes = run.config.prepare, whole.chrom.codes
    known = splits.known_genome(whole.chrom.names)
    split = splits.published(np.array(whole.chrom.names), known)[codes] if known else None
    if split is None or not usable(split):
        known, split = (
            None,
            splits.draw_chromosomes(
                codes,
                valid_fraction=config.valid_fraction,
                test_fraction=config.test_fraction,
                seed=run.config.seed,
            ),
        )
        if not usable(split):
            return None, {"split_by": "random"}
    about = {"split_by": f"chromosome, as published for {known}" if known else "chromosome"}
    for part, name in ((splits.VALID, "valid"), (splits.TEST, "test")):
        chosen = np.unique(codes[split == part])
        more = f" and {len(chosen) - 10} more" if len(chosen) > 10 else ""
        about[f"{name}_chromosomes"] = ", ".join(whole.chrom.names[code] for code in chosen[:10]) + more
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
    """Names of the chromosomes that examples are on, and the place among them of each example."""
    present, place = np.unique(whole.chrom.codes, return_inverse=True)
    return np.array([whole.chrom.names[code] for code in present]), place


def _counts(whole: Examples, tally: splits.Tally) -> dict[str, Any]:
    """Examples per part, and per class when there are two."""
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
