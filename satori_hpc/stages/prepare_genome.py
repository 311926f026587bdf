"""prepare, from a genome: peaks to windows to sequences, by any number of processes and in bounded memory.

The leader makes the plan, which windows in which order; all processes read blocks of them from the genome; the leader
puts the blocks together. What is read stays until the data set is whole, so a killed command goes on.
"""

import contextlib
import shutil

import numpy as np

from satori_hpc import provenance
from satori_hpc.config import Genome as Settings
from satori_hpc.core import sequence, splits
from satori_hpc.core.windows import Regions
from satori_hpc.errors import SatoriError
from satori_hpc.log import progress
from satori_hpc.run import Run
from satori_hpc.stages import genome_plan
from satori_hpc.stages.genome_plan import Plan
from satori_hpc.stages.source import Source
from satori_hpc.stores import atomic, chrom_sizes, window_parts
from satori_hpc.stores.examples import Coded, Examples, Made
from satori_hpc.stores.genome import Genome, index
from satori_hpc.stores.window_parts import Kept, Labels, Part, Parts, Tokens
from satori_hpc.world import Runtime

SLAB = 2**22  # bp read from the genome at once, at most
GAP = 2**14  # bp between two windows that are read over rather than begun anew
STRANDS = {1: "+", 0: ".", -1: "-"}
IN_SEQUENCES = 3  # first number of a place in left_out.tsv.gz


def make(run: Run, runtime: Runtime) -> Source | None:
    """Make plan and parts together with the other processes; the leader gets the windows that are kept, others None.

    Raises:
        InputError: a file cannot be used.
        ConfigError: chromosomes are named that are not there.
        SatoriError: what must be kept of every window does not fit into memory.
    """
    settings, world = run.config.prepare.genome, runtime.world
    assert settings is not None
    path, folder = run.resolve(settings.genome), run.dataset_parts
    indexes = run.path / "dataset.index"
    alphabet = run.config.prepare.alphabet
    world.lead(lambda: index(path, indexes, alphabet))
    with Genome(path, indexes, alphabet) as genome:
        plan: Plan | None = None
        digest = world.lead(lambda: provenance.file_digest(path))

        def begin() -> list[int]:
            nonlocal plan
            try:
                plan = genome_plan.make(run, settings, genome, runtime)
            except SatoriError:
                # Files that another process has open may stay; parts that were read before do.
                for made in (indexes, (folder / window_parts.WINDOWS).parent):
                    shutil.rmtree(made, ignore_errors=True)
                with contextlib.suppress(OSError):
                    folder.rmdir()
                raise
            return window_parts.begin(folder, plan.windows, length=settings.window, key=digest)

        todo = world.lead(begin)
        parts = Parts(folder)
        for block in progress(list(world.shares(todo, schedule="static")), what="sequences", unit="block"):
            parts.write(block, _part(genome, parts.take(parts.blocks[block])))
        world.barrier()
    if plan is None:  # not the leader
        return None
    return _together(run, settings, plan, parts, genome, {str(path): digest})


def finish(run: Run) -> None:
    """Remove what is needed until the data set is whole."""
    for folder in (run.dataset_parts, run.path / "dataset.index"):
        atomic.remove(folder)


def _part(genome: Genome, regions: Regions) -> Part:
    """Read windows that are sorted by place."""
    length = int(regions.end[0] - regions.start[0])
    tokens = np.empty((len(regions), length), dtype=np.uint8)
    first = 0
    while first < len(regions):
        last = first + 1
        begin = int(regions.start[first])
        while (
            last < len(regions)
            and regions.chrom[last] == regions.chrom[first]
            and regions.end[last] - begin <= SLAB
            and regions.start[last] - regions.end[last - 1] <= GAP
        ):
            last += 1
        slab = genome.tokens(int(regions.chrom[first]), begin, int(regions.end[last - 1]))
        views = np.lib.stride_tricks.sliding_window_view(slab, length)
        tokens[first:last] = views[regions.start[first:last] - begin]
        first = last
    other = regions.strand == -1
    tokens[other] = sequence.reverse_complement(tokens[other])
    return Part(tokens, (tokens == sequence.N).sum(axis=1), splits.digests(tokens))


def _together(
    run: Run, settings: Settings, plan: Plan, parts: Parts, genome: Genome, sources: dict[str, str]
) -> Source:
    keep = np.empty(len(parts.windows), dtype=bool)
    digests = np.empty((len(keep), splits.DIGEST), dtype=np.uint8)
    columns = {"chrom": np.int32, "start": np.int64, "strand": np.int8}
    found = {name: np.empty(len(keep), dtype=dtype) for name, dtype in columns.items()}
    for block, rows in enumerate(progress(parts.blocks, what="parts", unit="block")):
        part, regions = parts.read(block, tokens=False), parts.take(rows)
        keep[rows] = part.unknown <= settings.unknown_max * parts.length
        digests[rows] = part.digest
        for name, values in found.items():
            values[rows] = getattr(regions, name)
        left = regions.take(~keep[rows])
        names = np.array(genome.names, dtype=object)[left.chrom]
        reason = "too many letters other than ACGT"
        plan.left_out.add(names, left.start, left.end, place=(IN_SEQUENCES,), reason=reason)
    groups = splits.group_digests(digests[keep])
    chrom, start, strand = (values[keep] for values in found.values())
    plan.left_out.write(run.left_out)
    chrom_sizes.write(run.chrom_sizes, dict(zip(genome.names, genome.lengths.tolist(), strict=True)))

    def names_of(rows: slice) -> list[str]:
        places = zip(chrom[rows].tolist(), start[rows].tolist(), strand[rows].tolist(), strict=True)
        return [f"{genome.names[at]}:{first}-{first + parts.length}({STRANDS[side]})" for at, first, side in places]

    kept = Kept(parts, keep)
    whole = Examples(
        tokens=Tokens(kept),
        labels=Labels(kept, len(plan.labels)),
        split=np.zeros(len(start), dtype=np.uint8),
        names=Made(len(start), names_of),
        chrom=Coded(genome.names, chrom),
        start=start,
        end=start + parts.length,
        strand=strand,
        targets=plan.labels,
        task="binary" if len(plan.labels) == 1 else "multilabel",
    )
    summary = {
        **plan.summary,
        "windows": len(start),
        **{f"rows {what}": count for what, count in plan.left_out.counts().items()},
        "sources": {**sources, **plan.sources},
    }
    return Source(whole, summary, groups=groups)
