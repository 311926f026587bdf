"""interactions/<method>.bedpe: where in the genome the strongest instances of the interactions lie.

BEDPE as bedtools defines it, with a header and columns of our own behind the ten standard ones; intervals are 0-based
and half-open. End 1 is the site of tf_a, end 2 that of tf_b.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.stores import tsv

COLUMNS: dict[str, str] = {
    "chrom1": "chromosome of site 1; the example's name where its interval is not as long as its sequence",
    "start1": "first letter that the filter may cover there, 0-based",
    "end1": "behind the last such letter",
    "chrom2": "as chrom1, of site 2",
    "start2": "as start1, of site 2",
    "end2": "as end1, of site 2",
    "name": "the interaction: TF|TF, or filter<a>|filter<b> where no two TFs are named",
    "score": "score of this instance",
    "strand1": "strand of the example in its data set: + or -, . = not told",
    "strand2": "the same",
    "tf_a": "TF of site 1, the first of the two in alphabetical order; empty = none",
    "tf_b": "TF of site 2",
    "filter_a": "filter of site 1",
    "filter_b": "filter of site 2",
    "example": "name of the example",
    "distance": "start of site 2's cell minus start of site 1's, bp, along the sequence as the network read it",
    "q": "q-value of the interaction",
}


def write(path: Path, columns: Mapping[str, Any]) -> None:
    """Write instances (columns: COLUMNS) atomically."""
    tsv.write(path, columns, names=COLUMNS, mark="#")


def read(path: Path) -> pd.DataFrame:
    """Instances (columns: COLUMNS), names escaped as they stand in the file.

    Raises:
        ArtefactError: missing or damaged.
    """
    texts = dict.fromkeys(("#chrom1", "chrom2", "name", "strand1", "strand2", "tf_a", "tf_b", "example"), str)
    try:
        table = pd.read_csv(path, sep="\t", keep_default_na=False, dtype=texts)
    except (OSError, ValueError) as error:
        mend = f"make it: satori-hpc reduce {quoted(path.parent.parent)} --force"
        raise ArtefactError(f"{path}: cannot be read ({error}); {mend}") from None
    if list(table.columns) != ["#chrom1", *list(COLUMNS)[1:]]:
        raise ArtefactError(
            f"{path}: other columns than expected; satori-hpc reduce {quoted(path.parent.parent)} --force"
        )
    return table.rename(columns={"#chrom1": "chrom1"})
