"""[model.motif-tokens]: attention over hits of known motifs."""

from dataclasses import dataclass

from satori_hpc.config.toml import option


@dataclass(frozen=True, kw_only=True)
class MotifTokens:
    """Attention over hits of known motifs in cells of the sequence, with learned filters beside them."""

    motifs: str = option(
        "jaspar",
        "known motifs: jaspar, or a file of them: MEME, JASPAR, TRANSFAC, HOMER or CIS-BP (relative paths start at the "
        "run directory)",
    )
    jaspar_release: str = option("JASPAR2026", "release of JASPAR, as pyjaspar names it")
    jaspar_groups: tuple[str, ...] = option(("vertebrates",), "taxonomic groups of JASPAR CORE")
    similarity_max: float = option(
        0.8,
        "of motifs more alike than this the first stands for its family: relatives would take each other's hits; 1 = "
        "keep all",
        low=0.5,
        high=1,
    )
    gate_share: float = option(
        0.5, "a motif has a hit where its score is above this share of its largest score", low=0, high=0.99
    )
    gate_p: float = option(
        1e-3, "and as rare as this: p-value of a window; the best word of a motif always is", low=1e-12, high=0.1
    )
    compete: bool = option(
        True, "of overlapping hits only the most significant is seen; false: all, and attention means little"
    )
    pool: int = option(8, "bp per cell; attention sees cells", low=1)
    filters: int = option(32, "learned filters beside the motifs; 0 = none", low=0)
    width: int = option(13, "width of a learned filter, bp, odd", low=1)
    heads: int = option(1, "attention heads", low=1)
    size: int = option(64, "size of queries, keys and values, of all heads together", low=1)
    dropout: float = option(0.1, "dropout in front of the sum over cells", low=0, high=0.95)
    hit_dropout: float = option(
        0.1, "share of hits hidden in training; 0 where labels are numbers rather than classes", low=0, high=0.95
    )
    reverse: bool = option(
        True,
        "in training the order of cells is reversed by a coin; false where sequences have an orientation of their own",
    )

    def problems(self) -> "list[str]":
        found = []
        if self.size % self.heads:
            found.append(f"size = {self.size}: expected a multiple of heads = {self.heads}")
        if self.width % 2 == 0:
            found.append(f"width = {self.width}: expected an odd number")
        return found
