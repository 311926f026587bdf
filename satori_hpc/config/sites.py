"""The section [sites] of run.toml: where the sites come from whose pairs are scored."""

from collections.abc import Iterator
from dataclasses import dataclass

from satori_hpc.config.toml import option


@dataclass(frozen=True, kw_only=True)
class SiteSource:
    """[sites]: the source of motif sites."""

    source: str = option(
        "network",
        "network: where its filters are active, or the hits of the known motifs that it starts from; scan: hits of the "
        "known motifs of motifs.database, on both strands; file: those listed in a file. Scan and file serve any "
        "network and scoring method",
        choices=("network", "scan", "file"),
    )
    file: str = option(
        "",
        "file: BED with six columns (name = motif or TF), or hits.tsv of Fi-NeMo; coordinates in the genome, or within "
        "sequences by their names (relative paths start at the run directory)",
    )
    max_p: float = option(1e-4, "scan: largest p-value of a hit on one strand", low=1e-12, high=0.1)

    def problems(self) -> Iterator[str]:
        if self.source == "file" and not self.file:
            yield "source = 'file' needs a file: set file to a BED file of six columns or hits.tsv of Fi-NeMo"
