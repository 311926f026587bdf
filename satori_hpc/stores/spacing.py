"""interactions/<method>.spacing and .spacing_counts: how far apart the two sites of interactions stand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from satori_hpc.core.spacing import ARRANGEMENTS
from satori_hpc.stores import tables

_MEANINGS = {
    "tandem_ab": "one strand, A upstream of B",
    "tandem_ba": "one strand, B upstream of A",
    "convergent": "facing each other",
    "divergent": "back to back",
}

COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "name": (pa.string(), "the interaction: TF|TF, or filter<a>|filter<b> where no two TFs are named"),
    "tf_a": (pa.string(), "first TF in alphabetical order; empty = none"),
    "tf_b": (pa.string(), "second TF"),
    "filter_pairs": (pa.int64(), "called filter pairs of the interaction; the best one of each example counts"),
    "n_fg": (pa.int64(), "foreground examples with it at a spacing that is looked at"),
    "n_bg": (pa.int64(), "background examples likewise"),
    "tested": (pa.bool_(), "both have reduce.min_examples; if not, what follows the medians is empty"),
    "median_fg": (pa.float64(), "median spacing in the foreground, bp; negative where B lies before A"),
    "median_bg": (pa.float64(), "median spacing in the background"),
    "preferred_start": (pa.float64(), "first spacing of the window with the largest excess in the foreground, bp"),
    "preferred_end": (pa.float64(), "one past its last spacing"),
    "preferred_fg": (pa.float64(), "foreground examples in that window"),
    "preferred_expected": (pa.float64(), "as many would be there if foreground and background were alike"),
    "preferred_p": (pa.float64(), "that the largest excess of any window is this large by chance"),
    "preferred_q": (pa.float64(), "Benjamini-Hochberg q-value over the tested interactions"),
    "helical_strength": (pa.float64(), "difference of both sides on the turn of the helix (10.5 bp), 0 to 2"),
    "helical_phase": (pa.float64(), "spacing modulo 10.5 bp of which the foreground has more"),
    "helical_p": (pa.float64(), "that both sides differ so much in it by chance"),
    "helical_q": (pa.float64(), "Benjamini-Hochberg q-value over the tested interactions"),
    "a_first_fg": (pa.float64(), "share of the foreground with A before B, as sequences were read"),
    "a_first_bg": (pa.float64(), "share of the background likewise"),
    "order_p": (pa.float64(), "that these differ so much by chance (Fisher, two-sided)"),
    "order_q": (pa.float64(), "Benjamini-Hochberg q-value over the tested interactions"),
    **{
        f"{name}_{side}": (pa.float64(), f"share of the {word} whose motifs stand {_MEANINGS[name]}")
        for side, word in (("fg", "foreground"), ("bg", "background"))
        for name in ARRANGEMENTS
    },
    "arrangement_p": (pa.float64(), "that these four shares differ so much by chance; empty = strands not known"),
    "arrangement_q": (pa.float64(), "Benjamini-Hochberg q-value over the tested interactions"),
}
COUNTS: dict[str, tuple[pa.DataType, str]] = {
    "name": (pa.string(), "the interaction"),
    "spacing": (pa.int64(), "start of B less start of A, bp"),
    "n_fg": (pa.int64(), "foreground examples"),
    "n_bg": (pa.int64(), "background examples"),
}


def write(path: Path, columns: Mapping[str, Any], counts: Mapping[str, Any]) -> None:
    """Write both tables beside `path`, which has no ending."""
    tables.write_table(path.with_name(path.name + ".spacing"), columns, COLUMNS)
    tables.write_table(path.with_name(path.name + ".spacing_counts"), counts, COUNTS)


def read(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The interactions (columns: COLUMNS), strongest first, and their counts (COUNTS), by interaction and spacing.

    Raises:
        ArtefactError: missing, damaged or of another format version.
    """
    return (
        tables.read_table(path.with_name(path.name + ".spacing"), COLUMNS),
        tables.read_table(path.with_name(path.name + ".spacing_counts"), COUNTS),
    )
