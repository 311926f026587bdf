"""Match chromosome names of UCSC, Ensembl, NCBI and others."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

_HUMAN = (*map(str, range(1, 23)), "X", "Y")
_MOUSE = (*map(str, range(1, 20)), "X", "Y")
_FLY = ("X", "2L", "2R", "3L", "3R", "4", "Y", "M")
_WORM = ("I", "II", "III", "IV", "V", "X")
_YEAST = (*["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV", "XV", "XVI"], "M")


def _numbered(prefix: str, first: int, versions: str | list[int], *, digits: int = 6) -> str:
    """Return accessions that follow one another, each with its version."""
    each = [int(version) for version in (versions.split() if isinstance(versions, str) else versions)]
    return " ".join(f"{prefix}{first + at:0{digits}d}.{version}" for at, version in enumerate(each))


_GRCH38 = [11, 12, 12, 12, 10, 12, 14, 11, 12, 11, 10, 12, 11, 9, 10, 10, 11, 10, 10, 11, 9, 11, 11, 10]
_GRCM39 = [7, 8, *[7] * 17, 8, 8]
# Accessions of RefSeq and GenBank by assembly (NCBI assembly reports), in the order of the names. Every other accession
# is a separate name, which only matches itself.
_ASSEMBLIES: tuple[tuple[str, Sequence[str], str], ...] = (
    ("GRCh38", _HUMAN, _numbered("NC_", 1, _GRCH38)),
    ("GRCh38", _HUMAN, _numbered("CM", 663, [2] * 24)),
    ("GRCh37", _HUMAN, _numbered("NC_", 1, [version - 1 for version in _GRCH38])),
    ("GRCh37", _HUMAN, _numbered("CM", 663, [1] * 24)),
    ("T2T-CHM13v2.0", _HUMAN, _numbered("NC_", 60925, [1] * 24)),
    *((name, ("M",), "NC_012920.1") for name in ("GRCh38", "GRCh37")),
    *((name, ("M",), "J01415.2") for name in ("GRCh38", "GRCh37")),
    ("GRCm39", _MOUSE, _numbered("NC_", 67, _GRCM39)),
    ("GRCm39", _MOUSE, _numbered("CM", 994, [3] * 21)),
    ("GRCm38", _MOUSE, _numbered("NC_", 67, [version - 1 for version in _GRCM39])),
    ("GRCm38", _MOUSE, _numbered("CM", 994, [2] * 21)),
    *((name, ("M",), accession) for name in ("GRCm39", "GRCm38") for accession in ("NC_005089.1", "AY172335.1")),
    ("TAIR10", "12345", "NC_003070.9 NC_003071.7 NC_003074.8 NC_003075.7 NC_003076.8"),
    ("TAIR10", "12345", _numbered("CP", 2684, [1] * 5)),
    ("TAIR10", "CMM", "NC_000932.1 NC_037304.1 NC_001284.2"),
    ("TAIR10", "CMM", "AP000423.1 BK010421.1 Y08501.2"),
    ("BDGP6", _FLY, "NC_004354.4 NT_033779.5 NT_033778.4 NT_037436.4 NT_033777.3 NC_004353.4 NC_024512.1 NC_024511.2"),
    ("BDGP6", _FLY, "AE014298.5 AE014134.6 AE013599.5 AE014296.5 AE014297.3 AE014135.4 CP007106.1 KJ947872.2"),
    ("WBcel235", _WORM, _numbered("NC_", 3279, "8 10 10 8 11 9")),
    ("WBcel235", _WORM, _numbered("BX", 284601, "5 5 4 4 5 5")),
    ("WBcel235", ("M", "M"), "NC_001328.1 X54252.1"),
    ("R64", _YEAST, _numbered("NC_", 1133, "9 8 5 10 3 5 9 6 2 9 9 5 3 8 6 4") + " NC_001224.1"),
    ("GRCz11", [*map(str, range(1, 26)), "M"], _numbered("NC_", 7112, [7] * 25) + " NC_002333.2"),
    ("GRCz11", [*map(str, range(1, 26)), "M"], _numbered("CM", 2885, [2] * 25) + " AC024175.3"),
    ("IRGSP-1.0", [*map(str, range(1, 13))], _numbered("NC_", 29256, [1] * 12)),
)
# Mitochondrion and plastid as UCSC, Ensembl, TAIR, FlyBase, WormBase and SGD call them, in lower case.
_ORGANELLES = {
    **dict.fromkeys(("m", "mt", "mito", "mtdna", "mitochondrion", "mitochondria", "mitochondrion_genome"), "M"),
    **dict.fromkeys(("c", "pt", "cp", "chloroplast", "plastid"), "C"),
}
_ACCESSION = r"(?:[A-Z]{1,2}\d{5,8}|[A-Z]{4,6}\d{8,10}|N[CTWZG]_\d{6,9})"
_VERSIONED = re.compile(_ACCESSION + r"\.\d+")
_CHR = re.compile(r"chr(?:omosome)?[_.-]?(?=.)", re.IGNORECASE)
# Scaffolds of UCSC: chrUn_KI270728v1, chr1_KI270706v1_random, chr15_KI270850v1_alt; of hg19 and mm10 without a version,
# which is the first there: chr4_gl000193_random.
_SCAFFOLD = re.compile(rf"chr[^_]+_({_ACCESSION})(?:v(\d+))?(?:_(?:random|alt|fix))?", re.IGNORECASE)


@dataclass(frozen=True)
class Meaning:
    """Parsed name of a chromosome.

    Attributes:
        chromosome: its shortest name, such as "1", "2L", "M" (mitochondrion), "C" (plastid), "KI270728.1".
        assemblies: of an accession, those that contain it; empty: unknown.
    """

    chromosome: str
    assemblies: frozenset[str] = frozenset()

    def agrees(self, other: "Meaning") -> bool:
        """Return whether both may mean the same chromosome."""
        return self.chromosome == other.chromosome and (
            not (self.assemblies and other.assemblies) or bool(self.assemblies & other.assemblies)
        )


@lru_cache(maxsize=1)
def _accessions() -> dict[str, Meaning]:
    found: dict[str, Meaning] = {}
    for assembly, names, accessions in _ASSEMBLIES:
        for name, accession in zip(names, accessions.split(), strict=True):
            before = found.get(accession, Meaning(name))
            found[accession] = Meaning(name, before.assemblies | {assembly})
    return found


@lru_cache(maxsize=2**16)
def meaning(name: str) -> Meaning:
    """Parse the name of a chromosome; a name of unknown style only matches itself."""
    if "|" in name:  # ref|NC_000001.11|, ENA|BX284601|BX284601.5
        inside = {part for part in name.split("|") if _VERSIONED.fullmatch(part)}
        return meaning(inside.pop()) if len(inside) == 1 else Meaning(name)
    if _VERSIONED.fullmatch(name):
        return _accessions().get(name, Meaning(name))
    scaffold = _SCAFFOLD.fullmatch(name)
    if scaffold:
        accession, version = scaffold[1].upper(), scaffold[2]
        return Meaning(name) if version is None and "_" in accession else Meaning(f"{accession}.{version or 1}")
    rest = _CHR.sub("", name, count=1) if _CHR.match(name) else name
    return Meaning(_ORGANELLES.get(rest.lower()) or re.sub(r"^0+(?=\d)", "", rest))


def candidates(names: Sequence[str], known: Sequence[str]) -> Iterator[list[int]]:
    """Yield, for each of the names of a file, the indices in `known` of the chromosomes that it may mean.

    A known name always means itself. Of the others, those of one file that mean one chromosome by
    accessions of several assemblies mean none.
    """
    places = {name: place for place, name in enumerate(known)}
    by_chromosome: dict[str, list[int]] = {}
    if not all(name in places for name in names):
        for place, name in enumerate(known):
            by_chromosome.setdefault(meaning(name).chromosome, []).append(place)
    told: dict[str, list[frozenset[str]]] = {}
    for name in names:
        if meaning(name).assemblies:
            told.setdefault(meaning(name).chromosome, []).append(meaning(name).assemblies)
    for name in names:
        if name in places:
            yield [places[name]]
            continue
        own = meaning(name)
        there = [place for place in by_chromosome.get(own.chromosome, ()) if own.agrees(meaning(known[place]))]
        yield there if not own.assemblies or frozenset.intersection(*told[own.chromosome]) else []
