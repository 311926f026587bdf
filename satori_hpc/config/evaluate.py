"""Define the section [evaluate] of run.toml: references for the called pairs."""

from collections.abc import Iterator
from dataclasses import dataclass

from satori_hpc.config.toml import option


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """[evaluate]: comparison with implanted pairs (simulated sets have them) and with tables of known interactions."""

    cooccurrence_range: int = option(45, "baseline: two motif hits co-occur within this many bp", low=1)
    known: tuple[str, ...] = option(
        (),
        "tables of known interactions, plain or gzip, in a format listed in docs/evaluation.md, or with two "
        "columns of names; relative paths start at the run directory",
    )
    known_columns: tuple[str, ...] = option(
        (),
        "for each table in turn, its two columns of names as 'A,B', by heading or by number from 1, or 'A' if one "
        "column holds pairs; '' or left out = recognised from its layout or values",
    )
    known_names: str = option(
        "",
        "file of two columns, identifier and name, for tables whose gene names differ from those of the "
        "motifs; '' = none",
    )
    known_organism: str = option(
        "", "taxon number, such as '9606', that both partners must have if the table gives it; '' = any"
    )
    known_min_score: float = option(
        0.0,
        "rows of lower confidence, from 0 to 1, are excluded, if a table has one (HIPPIE, MITAB, STRING, a column "
        "headed score); above 1 = on the scale of the table",
        low=0,
    )
    known_composites: str = option(
        "parts",
        "GATA1::TAL1: parts = matches rows of either TF; literal = a name like any other",
        choices=("parts", "literal"),
    )
    known_case: bool = option(False, "names that differ only in case are different")
    known_permutations: int = option(
        1000, "permutations of the TF names; the smallest p-value is 1 / (1 + permutations)", low=1
    )

    def problems(self) -> Iterator[str]:
        if len(set(self.known)) < len(self.known):
            yield f"known = {list(self.known)}: a table stands there twice"
        if "" in self.known:
            yield "known holds an empty name"
        if len(self.known_columns) > len(self.known):
            yield f"known_columns has {len(self.known_columns)} entries for {len(self.known)} tables"
        if self.known_organism and not self.known_organism.isdigit():
            yield f"known_organism = {self.known_organism!r}: expected a taxon number in quotes, such as '9606'"

    @property
    def columns(self) -> tuple[str, ...]:
        """`known_columns` with an entry for every table."""
        return self.known_columns + ("",) * (len(self.known) - len(self.known_columns))
