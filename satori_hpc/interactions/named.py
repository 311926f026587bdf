"""Names of the motifs of a score store, and the TFs or families whose sites are pooled."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.interactions.site_pairs import NONE, Units
from satori_hpc.motifs import families
from satori_hpc.motifs import names as tf_names
from satori_hpc.scoring.store import ScoreStore
from satori_hpc.sites import store as motif_store


@dataclass(frozen=True)
class Named:
    """Names of motifs, and the TFs, or families of TFs, that are tested.

    Attributes:
        tf: str (motifs,), the TF that a motif is named after, or its family, "" = none.
        motif_q: float64 (motifs,), Tomtom q-value of the best match, NaN = none.
        tfs: the TFs that motifs are named after, sorted; names that are compared as one are one (the first of them).
        unit: int (motifs,), the TF's place in `tfs`, NONE = none.
    """

    tf: np.ndarray
    motif_q: np.ndarray
    tfs: tuple[str, ...]
    unit: np.ndarray

    def units(self, combine: str, widths: tuple[int, ...] = ()) -> Units:
        """Return the TFs, each with all its motifs; with widths (bp, of each motif) sites that overlap compete."""
        return Units(tuple(self.unit.tolist()), len(self.tfs), combine, widths)

    def join(self, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the columns of motif pairs with filter, TF and motif q-value of both sides."""
        columns = dict(columns)
        for side in ("a", "b"):
            filter_ = columns.pop(f"unit_{side}").astype(np.int32)
            columns |= {
                f"filter_{side}": filter_,
                f"tf_{side}": self.tf[filter_],
                f"motif_q_{side}": self.motif_q[filter_],
            }
        return columns


def names_of(folder: Path, store: ScoreStore, *, level: str = "tf") -> Named:
    """Return the names of a store's motifs.

    Args:
        folder: motifs/ of a run.
        store: the scores.
        level: of [reduce]: "tf", or "family" of TFs, which then stands in place of the TF.

    Raises:
        ArtefactError: the table of names is of another model.
    """
    table = motif_store.read_tf(folder)
    if len(table) and int(table["filter"].max()) >= store.motifs:
        raise ArtefactError(
            f"{folder}: names filter {int(table['filter'].max())}, the scores are of {store.motifs} filters; "
            f"make them again: satori-hpc motifs {quoted(folder.parent)}"
        )
    tf = np.full(store.motifs, "", dtype=object)
    motif_q = np.full(store.motifs, np.nan)
    unit_of = families.namer(level)
    for number, name, q, named in zip(table["filter"], table["tf"], table["q"], table["named"], strict=True):
        tf[number] = unit_of(name) if named else ""
        motif_q[number] = q
    first: dict[Any, str] = {}
    for name in sorted({name for name in tf.tolist() if name}):
        first.setdefault(tf_names.compared(name), name)
    tfs = tuple(sorted(first.values()))
    place = {name: number for number, name in enumerate(tfs)}
    unit = [place[first[tf_names.compared(name)]] if name else NONE for name in tf.tolist()]
    return Named(tf, motif_q, tfs, np.array(unit, dtype=np.int64))
