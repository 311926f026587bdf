"""Promoters of an annotation, to stand for peaks where no peaks are given."""

from pathlib import Path

import numpy as np

from satori_hpc.stores import peaks
from satori_hpc.stores.annotation import Genes
from satori_hpc.stores.genome import Genome
from satori_hpc.stores.left_out import LeftOut

LABEL = "promoter"
IN_ANNOTATION = -1  # first number of a place in left_out.tsv.gz


def rows(path: Path, genes: Genes, genome: Genome, *, size: int, left_out: LeftOut) -> peaks.Rows:
    """The `size` bp upstream of every transcription start, as the rows of a file of peaks.

    Transcripts that start at the same place, on the same strand, are one row, that of the first; those that start
    where their chromosome ends have nothing upstream and are noted.

    Args:
        path: of the annotation.
        genes: on the genome's chromosomes.
        genome: open.
        size: bp; parts of it may lie outside the chromosome.
        left_out: takes the notes.
    """
    chrom, begin, end = genes.transcripts
    strand = np.where(genes.strand >= 0, 1, -1).astype(np.int8)
    edge = np.where(strand > 0, begin, end)  # between the first letter and the one upstream of it
    first = np.sort(np.unique(np.stack([chrom, strand, edge]), axis=1, return_index=True)[1])
    none = edge[first] == np.where(strand[first] > 0, 0, genome.lengths[chrom[first]])
    names = np.array(genome.names, dtype=object)
    at = first[none]
    left_out.add(
        names[chrom[at]],
        begin[at],
        end[at],
        place=(IN_ANNOTATION,),
        reason="transcript starts at the end of the chromosome: no promoter",
        file=path.name,
        line=genes.line[at],
    )
    kept = first[~none]
    start = np.where(strand[kept] > 0, edge[kept] - size, edge[kept])
    return peaks.Rows(
        names=list(genome.names),
        chrom=chrom[kept],
        start=start,
        end=start + size,
        summit=np.full(len(kept), -1, dtype=np.int64),
        strand=strand[kept],
        line=genes.line[kept],
        labels=None,
    )
