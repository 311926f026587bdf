"""[model.motif-tokens] and [model.preloaded]: networks that start from known motifs."""

from dataclasses import dataclass

from satori_hpc.config.toml import option


@dataclass(frozen=True, kw_only=True)
class KnownMotifs:
    """The collection that a network starts from."""

    motifs: str = option(
        "jaspar",
        "known motifs: jaspar, or a motif file: MEME, JASPAR, TRANSFAC, HOMER or CIS-BP (relative paths start at "
        "the run directory)",
    )
    jaspar_groups: tuple[str, ...] = option(("vertebrates",), "taxonomic groups of JASPAR CORE")
    similarity_max: float = option(
        0.8,
        "deduplicate: of motifs more similar than this the first represents its family, because related motifs "
        "compete for the same hits; 1 = keep all",
        low=0.5,
        high=1,
    )


@dataclass(frozen=True, kw_only=True)
class Preloaded(KnownMotifs):
    """Known motifs in place of learned filters: relu(score - gate) / maximum, of the better strand (SATORI 2.0)."""

    gate_share: float = option(
        0.5, "a motif is active where its score is above this fraction of its maximum; 0 with gate_p", low=0, high=0.99
    )
    gate_p: float = option(
        1.0,
        "and where its p-value is at most this, such as 1e-4; the best word of a motif always counts; 1 = any",
        low=1e-12,
        high=1,
    )
    tuned: bool = option(
        False,
        "train the matrices of the motifs too; false: only a scale per motif, so that a filter stays the motif whose "
        "name it bears",
    )


@dataclass(frozen=True, kw_only=True)
class MotifTokens(KnownMotifs):
    """Attention over hits of known motifs in bins of the sequence, with additional learned filters."""

    gate_share: float = option(
        0.5, "a motif has a hit where its score is above this fraction of its maximum", low=0, high=0.99
    )
    gate_p: float = option(
        1e-3, "and its p-value is at most this; the best word of a motif always counts", low=1e-12, high=0.1
    )
    compete: bool = option(
        True,
        "of overlapping hits only the most significant is kept; false: all, which makes attention hard to interpret",
    )
    pool: int = option(8, "bp per bin; attention operates on bins", low=1)
    num_filters: int = option(32, "learned filters in addition to the motifs; 0 = none", low=0)
    kernel_size: int = option(13, "width of a learned filter, bp, odd", low=1)
    kmers: bool = option(
        False,
        "add a logistic regression on counts of 6-mers, fitted first, to the outputs: the network learns what is left, "
        "and hardly falls behind 6-mers on small data sets; scores explain the network alone",
    )
    num_heads: int = option(1, "attention heads", low=1)
    size: int = option(64, "size of queries, keys and values, of all heads together", low=1)
    dropout: float = option(0.1, "dropout before the sum over bins", low=0, high=0.95)
    hit_dropout: float = option(
        0.1, "fraction of hits masked in training; use 0 if labels are quantities rather than classes", low=0, high=0.95
    )
    reverse: bool = option(
        True,
        "reverse the order of bins in training with probability 1/2; false if sequences have an orientation",
    )

    def problems(self) -> "list[str]":
        found = []
        if self.size % self.num_heads:
            found.append(f"size = {self.size}: expected a multiple of num_heads = {self.num_heads}")
        if self.kernel_size % 2 == 0:
            found.append(f"kernel_size = {self.kernel_size}: expected an odd number")
        return found
