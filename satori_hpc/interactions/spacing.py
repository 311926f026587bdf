"""Spacing, order and strands of the called interactions, counted in one pass over the scores and tested.

Part of `reduce`, whose table says which interactions are called and whose settings define the scores: so it is
never older than that table. Only counts by spacing are held, for any number of examples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from satori_hpc.config import Reduce
from satori_hpc.interactions import instances, tables
from satori_hpc.interactions.instances import Chosen
from satori_hpc.interactions.statistics import mann_whitney, spacing
from satori_hpc.interactions.statistics.base import Rules
from satori_hpc.interactions.statistics.spacing import ARRANGEMENTS
from satori_hpc.run.layout import Run
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.layout import GROUPS
from satori_hpc.scoring.store import ScoreStore
from satori_hpc.sites import store as motif_store

PURPOSE = 0x5BAC1  # keys the generators of this module
STRONGEST = 200  # called interactions that are tested
WIDEST_EXACT = 3  # bp, window of spacings if positions are exact


@dataclass(frozen=True)
class Reading:
    """How filters read the motifs they are named after.

    Attributes:
        strand: int64 (F,), 1 or -1 = backwards, 0 = not named.
        offset: int64 (F,), column of the motif aligned with the filter's first position; 0 = not named.
    """

    strand: np.ndarray
    offset: np.ndarray

    @staticmethod
    def of(table: pd.DataFrame, filters: int) -> "Reading":
        """Read the orientation from motifs.read_tf."""
        named = table[table["named"].astype(bool)]
        strand, offset = np.zeros(filters, np.int64), np.zeros(filters, np.int64)
        strand[named["filter"]] = np.where(named["strand"] == "-", -1, 1)
        offset[named["filter"]] = named["offset"]
        return Reading(strand, offset)


@dataclass(frozen=True)
class Counts:
    """Examples of each interaction, by side (foreground, background).

    Attributes:
        spacing: int64 (interactions, 2, 2 reach + 1), by spacing from -reach to reach.
        arrangement: int64 (interactions, 2, 4), by ARRANGEMENTS, where known.
    """

    spacing: np.ndarray
    arrangement: np.ndarray


def write(
    run: Run,
    method: str,
    *,
    table: pd.DataFrame,
    tf_table: pd.DataFrame,
    tfs: Sequence[str],
    rules: Rules,
    cutoff: float,
) -> dict[str, Any]:
    """Write the spacing tables of a method; numbers for the summary. Arguments and errors: as of `instances.write`."""
    settings = run.config.reduce
    store = score_store.open_complete(run.scores(method))
    chosen = instances.choose(table, tf_table, tfs=tfs, units=rules.units, most=STRONGEST)
    counts = gather(
        store,
        chosen,
        Reading.of(motif_store.read_tf(run.motifs), store.motifs),
        rules=rules,
        reach=settings.spacing_distance,
        floor=rules.with_cutoff(cutoff),
    )
    window = max(WIDEST_EXACT, 2 * store.pool)
    columns = test(counts, chosen, settings=settings, window=window, seed=run.config.seed)
    told = counts.spacing.sum(axis=1)
    owner, place = np.nonzero(told)
    write_tables(
        run.interactions(method),
        columns,
        {
            "name": chosen.name[owner],
            "spacing": place - settings.spacing_distance,
            "n_fg": counts.spacing[owner, 0, place],
            "n_bg": counts.spacing[owner, 1, place],
        },
    )
    return {
        "spacing_tested": int(np.sum(columns["tested"])),
        **{
            f"{name}_spacings" if name in ("preferred", "helical") else f"{name}_biased": int(
                np.sum(columns[f"{name}_q"] <= settings.alpha)
            )
            for name in ("preferred", "helical", "order", "arrangement")
        },
    }


def gather(store: ScoreStore, chosen: Chosen, reading: Reading, *, rules: Rules, reach: int, floor: float) -> Counts:
    """Count the examples of each interaction by spacing and arrangement.

    An example counts once per interaction, with the site pair that represents it there. The spacing is from start
    to start: of the motifs that the filters are named after, else of the sites.

    Args:
        store: finished.
        chosen: the interactions.
        reading: of the filters; of interactions without names nothing is made of it.
        rules: which sites are pooled.
        reach: spacings beyond count for nothing, bp.
        floor: smaller scores count for nothing.
    """
    interactions, width = len(chosen.q), 2 * reach + 1
    counts = Counts(
        np.zeros((interactions, 2, width), np.int64), np.zeros((interactions, 2, len(ARRANGEMENTS)), np.int64)
    )
    named = (chosen.tf_a != "") & (chosen.tf_b != "")
    for side, group in enumerate(GROUPS):
        for _, mine, block, score in instances.chosen_blocks(store, rules, chosen.pair, group, near=False):
            row, column = np.nonzero(score >= np.float32(floor))
            at = chosen.pair[mine[column]] % instances.WIDTH
            first, second = (block.scores.site[each[row, at]].astype(np.int64) for each in (block.first, block.second))
            owner = mine[column]
            told = named[owner]
            shift = np.where(told, reading.offset[first[:, 0]] - reading.offset[second[:, 0]], 0)
            strands = [np.where(told, reading.strand[each[:, 0]] * each[:, 2], 0) for each in (first, second)]
            away = second[:, 1] - first[:, 1] + shift
            near = np.abs(away) <= reach
            owner, away, strands = owner[near], away[near], [each[near] for each in strands]
            np.add.at(counts.spacing[:, side], (owner, away + reach), 1)
            kind = spacing.arrangement(away, strands[0], strands[1])
            np.add.at(counts.arrangement[:, side], (owner[kind >= 0], kind[kind >= 0]), 1)
    return counts


def test(counts: Counts, chosen: Chosen, *, settings: Reduce, window: int, seed: int) -> dict[str, np.ndarray]:
    """Return the columns of the table of spacings (interactions.spacing.COLUMNS).

    Args:
        counts: of the interactions.
        chosen: the interactions.
        settings: the section [reduce].
        window: spacings in a window, bp.
        seed: of the run; draws are keyed by it and by the number of the interaction's pair.
    """
    reach = counts.spacing.shape[2] // 2
    at = np.arange(-reach, reach + 1)
    sides = counts.spacing.sum(axis=2)
    tested = (sides >= max(1, settings.min_examples)).all(axis=1)
    turn = spacing.helical(counts.spacing[:, 0], counts.spacing[:, 1], at)
    ahead = np.stack([counts.spacing[:, :, reach + 1 :].sum(axis=2), counts.spacing[:, :, :reach].sum(axis=2)], axis=2)
    columns: dict[str, np.ndarray] = {
        "name": chosen.name,
        "tf_a": chosen.tf_a,
        "tf_b": chosen.tf_b,
        "n_fg": sides[:, 0],
        "n_bg": sides[:, 1],
        "tested": tested,
        **{
            f"median_{side}": np.array([_median(row, at) for row in counts.spacing[:, number]])
            for number, side in enumerate(("fg", "bg"))
        },
    }
    found = {name: np.full(len(tested), np.nan) for name in COLUMNS if name not in columns}
    for row in np.flatnonzero(tested):
        best = int(chosen.pair[row])
        rng = np.random.default_rng([seed, PURPOSE, best])
        foreground, background = counts.spacing[row]
        peak = spacing.preferred(foreground, background, window=window, draws=settings.spacing_draws, rng=rng)
        found["preferred_start"][row] = at[peak.first]
        found["preferred_end"][row] = at[peak.first] + window
        found["preferred_fg"][row], found["preferred_expected"][row] = peak.found, peak.expected
        found["preferred_p"][row] = peak.p
        found["order_p"][row] = spacing.order_p(*ahead[row])
        kinds = counts.arrangement[row]
        found["arrangement_p"][row] = spacing.arrangement_p(*kinds, draws=settings.spacing_draws, rng=rng)
        for number, side in enumerate(("fg", "bg")):
            found[f"a_first_{side}"][row] = ahead[row, number, 0] / max(ahead[row, number].sum(), 1)
            for kind, name in enumerate(ARRANGEMENTS):
                total = kinds[number].sum()
                found[f"{name}_{side}"][row] = kinds[number, kind] / total if total else np.nan
    for name in ("strength", "phase", "p"):
        found[f"helical_{name}"] = np.where(tested, getattr(turn, name), np.nan)
    for name in ("preferred", "helical", "order", "arrangement"):
        told = ~np.isnan(found[f"{name}_p"])
        found[f"{name}_q"][told] = mann_whitney.q_values(found[f"{name}_p"][told])
    return columns | found


def _median(counts: np.ndarray, at: np.ndarray) -> float:
    """Return the median of a histogram; NaN if it is empty."""
    before = np.cumsum(counts)
    n = int(before[-1]) if len(before) else 0
    if not n:
        return float("nan")
    return float(np.mean(at[np.searchsorted(before, [(n - 1) // 2 + 1, n // 2 + 1])]))


# interactions/<method>.spacing and .spacing_counts: distances between the two sites of interactions.

_MEANINGS = {
    "tandem_ab": "on one strand, A upstream of B",
    "tandem_ba": "on one strand, B upstream of A",
    "convergent": "facing each other",
    "divergent": "back to back",
}

COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "name": (pa.string(), "the interaction: TF|TF, or filter<a>|filter<b> where no two TFs are named"),
    "tf_a": (pa.string(), "first TF in alphabetical order; empty = none"),
    "tf_b": (pa.string(), "second TF"),
    "n_fg": (pa.int64(), "foreground examples with it within reduce.spacing_distance"),
    "n_bg": (pa.int64(), "background examples likewise"),
    "tested": (pa.bool_(), "both have reduce.min_examples; if not, the columns after the medians are empty"),
    "median_fg": (pa.float64(), "median spacing in the foreground, bp; negative if B is before A"),
    "median_bg": (pa.float64(), "median spacing in the background"),
    "preferred_start": (pa.float64(), "first spacing of the window with the largest excess in the foreground, bp"),
    "preferred_end": (pa.float64(), "one past its last spacing"),
    "preferred_fg": (pa.float64(), "foreground examples in that window"),
    "preferred_expected": (pa.float64(), "expected number if foreground and background were equal"),
    "preferred_p": (pa.float64(), "p-value of the largest excess of any window"),
    "preferred_q": (pa.float64(), "Benjamini-Hochberg q-value over the tested interactions"),
    "helical_strength": (pa.float64(), "difference between the sides in helical phase (10.5 bp per turn), 0 to 2"),
    "helical_phase": (pa.float64(), "spacing modulo 10.5 bp that is enriched in the foreground"),
    "helical_p": (pa.float64(), "p-value of this difference"),
    "helical_q": (pa.float64(), "Benjamini-Hochberg q-value over the tested interactions"),
    "a_first_fg": (pa.float64(), "share of the foreground with A before B, as sequences were read"),
    "a_first_bg": (pa.float64(), "share of the background likewise"),
    "order_p": (pa.float64(), "p-value of this difference (Fisher, two-sided)"),
    "order_q": (pa.float64(), "Benjamini-Hochberg q-value over the tested interactions"),
    **{
        f"{name}_{side}": (pa.float64(), f"share of the {word} with motifs {_MEANINGS[name]}")
        for side, word in (("fg", "foreground"), ("bg", "background"))
        for name in ARRANGEMENTS
    },
    "arrangement_p": (pa.float64(), "p-value of the difference of these four shares; empty = strands unknown"),
    "arrangement_q": (pa.float64(), "Benjamini-Hochberg q-value over the tested interactions"),
}
COUNTS: dict[str, tuple[pa.DataType, str]] = {
    "name": (pa.string(), "the interaction"),
    "spacing": (pa.int64(), "start of B minus start of A, bp"),
    "n_fg": (pa.int64(), "foreground examples"),
    "n_bg": (pa.int64(), "background examples"),
}


def write_tables(path: Path, columns: Mapping[str, Any], counts: Mapping[str, Any]) -> None:
    """Write both tables to `path`, which has no suffix."""
    tables.write_table(path.with_name(path.name + ".spacing"), columns, COLUMNS)
    tables.write_table(path.with_name(path.name + ".spacing_counts"), counts, COUNTS)


def read_tables(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the interactions (columns: COLUMNS), strongest first, and their counts (COUNTS), by spacing.

    Raises:
        ArtefactError: missing, damaged or of another format version.
    """
    return (
        tables.read_table(path.with_name(path.name + ".spacing"), COLUMNS),
        tables.read_table(path.with_name(path.name + ".spacing_counts"), COUNTS),
    )
