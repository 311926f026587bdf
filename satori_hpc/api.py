"""Provide the Python API of `import satori_hpc`: runs, tables, scores, networks, and methods on arrays."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from satori_hpc.errors import InputError
from satori_hpc.run.layout import Run

if TYPE_CHECKING:
    import torch

    from satori_hpc.models.base import ScorableModel
    from satori_hpc.scoring.site_scores import SiteScores
    from satori_hpc.scoring.store import ScoreStore

__all__ = [
    "ExampleScores",
    "Scores",
    "load_model",
    "open_run",
    "read_interactions",
    "read_scores",
    "score_pairs",
    "test_pairs",
]


def open_run(path: str | Path) -> Run:
    """Open a run directory: its configuration and the paths of its artefacts.

    Raises:
        ConfigError: there is no run.toml, or it cannot be used.
    """
    return Run.open(Path(path))


def read_interactions(run: Run | str | Path, method: str, *, level: str = "tf") -> pd.DataFrame:
    """Read the table of tested pairs of a scoring method, strongest first.

    Args:
        run: a run, or its directory.
        method: such as "epistasis".
        level: "tf", pairs of TFs (columns: docs/formats.md); or "filter", pairs of filters or known motifs.

    Raises:
        ArtefactError: there is no such table, or it is damaged.
    """
    from satori_hpc.interactions import tables

    read = {"tf": tables.read_tf, "filter": tables.read}
    if level not in read:
        raise InputError(f"level = {level!r}: expected 'tf' or 'filter'")
    return read[level](_run(run).interactions(method))


@dataclass(frozen=True)
class ExampleScores:
    """Scores of a method in one example.

    Attributes:
        example: row of the example in its data set.
        sites: columns motif, start (bp; of attention over learned filters that of the bin), end, strand, strength,
            place.
        value: float32 (places, places), between the places of the sites, NaN = no pair; symmetric unless the
            method has a direction (row: the place that is mutated).
        effects: float32 (places,) by name, effects of single places.
    """

    example: int
    sites: pd.DataFrame
    value: np.ndarray
    effects: dict[str, np.ndarray]


class Scores:
    """Scores of a method in all examples of a group, read lazily.

    Args:
        store: finished.
        group: "foreground" or "background".
    """

    def __init__(self, store: "ScoreStore", group: str) -> None:
        self._store, self.group = store, group
        self.method, self.motifs = store.method, store.motifs
        self.examples = store.examples(group)
        self._widths = store.widths()

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[ExampleScores]:
        for partition, (first, _) in enumerate(self._store.partitions(self.group)):
            yield from self._of(self._store.read(self.group, partition), first)

    def __getitem__(self, number: int) -> ExampleScores:
        """Return the scores of an example, by its number in the group."""
        if not -len(self) <= number < len(self):
            raise IndexError(f"example {number} of {len(self)}")
        number %= len(self)
        parts = self._store.partitions(self.group)
        partition = next(place for place, (first, last) in enumerate(parts) if first <= number < last)
        found = self._of(self._store.read(self.group, partition), parts[partition][0])
        return next(each for place, each in enumerate(found, start=parts[partition][0]) if place == number)

    def _of(self, scores: "SiteScores", first: int) -> Iterator[ExampleScores]:
        directed = self._store.directed
        site, place, value = 0, 0, 0
        for row, (sites, places) in enumerate(scores.counts.tolist()):
            table = scores.site[site : site + sites].astype(np.int64)
            square = np.full((places, places), np.nan, dtype=np.float32)
            size = places * places if directed else places * (places - 1) // 2
            flat = scores.value[value : value + size]
            if directed:
                square[:] = flat.reshape(places, places)
            else:
                upper = np.triu_indices(places, k=1)
                square[upper] = flat
                square.T[upper] = flat
            yield ExampleScores(
                example=int(self.examples[first + row]),
                sites=pd.DataFrame(
                    {
                        "motif": table[:, 0],
                        "start": table[:, 1],
                        "end": table[:, 1] + self._widths[table[:, 0]],
                        "strand": table[:, 2],
                        "strength": scores.strength[site : site + sites],
                        "place": table[:, 3],
                    }
                ),
                value=square,
                effects={name: values[place : place + places] for name, values in scores.effects.items()},
            )
            site, place, value = site + sites, place + places, value + size


def read_scores(run: Run | str | Path, method: str, *, group: str = "foreground") -> Scores:
    """Open the scores of a method: sites of every example, and values between them.

    Args:
        run: a run, or its directory.
        method: such as "attention".
        group: "foreground" or "background".

    Raises:
        ArtefactError: they are missing, unfinished or damaged.
    """
    from satori_hpc.scoring import store

    if group not in ("foreground", "background"):
        raise InputError(f"group = {group!r}: expected 'foreground' or 'background'")
    return Scores(store.open_complete(_run(run).scores(method)), group)


def load_model(path: str | Path, *, device: str = "cpu") -> Any:
    """Load the network of a run or a checkpoint as a plain torch module.

    One-hot (B, 4, L) in, logits (B, T) out; works unchanged in captum and tangermeme. Arguments and errors: as
    of training.scorable.load_model.
    """
    from satori_hpc.training import scorable

    return scorable.load_model(path, device=device)


def score_pairs(
    model: "ScorableModel",
    one_hot: "torch.Tensor",
    sites: Sequence[np.ndarray],
    *,
    method: str = "epistasis",
    targets: "torch.Tensor | None" = None,
    seed: int = 1,
    mutations: int = 3,
) -> list[np.ndarray]:
    """Score pairs of sites in sequences by any network over one-hot sequences.

    Args:
        model: a torch module, (B, 4, L) -> (B, T), with `length` and `targets`, such as that of `load_model`.
        one_hot: (B, 4, L), rows A, C, G, T; an unknown base is a zero column.
        sites: of each sequence, int (m, 2): half-open intervals.
        method: that scores given sites: "epistasis" (forward passes alone), "dfim" (integrated gradients by autograd),
            or one of a plug-in that was registered with `pairs`.
        targets: uint8 (B, T), the outputs to explain; needed if there are several.
        seed: of random bases and baselines.
        mutations: number of draws of random bases in place of a site, averaged.

    Returns:
        of each sequence float64 (m, m), NaN on the diagonal: epistasis, symmetric; dfim, the decrease of the column's
        site counts when the row's is mutated.

    Raises:
        InputError: sequences or sites do not fit the network, or the method scores no given sites.
    """
    import torch

    from satori_hpc.config.score import METHODS
    from satori_hpc.registry import load
    from satori_hpc.scoring import generic
    from satori_hpc.scoring.base import Batch

    offered = {name: entry.pairs for name, entry in METHODS.items() if entry.pairs is not None}
    if method not in offered:
        raise InputError(f"method = {method!r}: expected one that scores given sites: {', '.join(offered)}")
    tokens = generic.tokens_of(one_hot)
    rows = torch.arange(len(tokens))
    batch = Batch(tokens, torch.stack([torch.zeros_like(rows), rows], dim=1), targets)
    found: list[np.ndarray] = load(offered[method])(model, batch, sites, seed=seed, mutations=mutations)
    return found


def test_pairs(
    foreground: np.ndarray, background: np.ndarray | None = None, *, margin: np.ndarray | float = 0.0
) -> pd.DataFrame:
    """Test the scores of pairs over examples.

    Args:
        foreground: (examples, pairs), NaN = not observed.
        background: (other examples, the same pairs): tests for larger scores in the foreground (Mann-Whitney). None:
            tests whether foreground scores exceed `margin` (one-sided signed-rank test).
        margin: what they must exceed, one number or an array like `foreground`.

    Returns:
        a row per pair: n_fg, n_bg, statistic (U or W+), auc, p, and q (Benjamini-Hochberg over all pairs with a
            p-value).

    Raises:
        InputError: the arrays do not match.
    """
    from satori_hpc.interactions.statistics import mann_whitney, signed_rank

    values = np.ascontiguousarray(foreground, dtype=np.float32)
    other = None if background is None else np.ascontiguousarray(background, dtype=np.float32)
    if values.ndim != 2 or (other is not None and other.shape[1:] != values.shape[1:]):
        shapes = " and ".join(str(each.shape) for each in (values, other) if each is not None)
        raise InputError(f"expected arrays (examples, pairs) of as many pairs, found {shapes}")
    if other is not None:
        found = mann_whitney.mann_whitney(values, other)
        columns = {"n_fg": found.n_fg, "n_bg": found.n_bg, "statistic": found.u, "auc": found.auc, "p": found.p}
    else:
        ranked = signed_rank.wilcoxon(np.ascontiguousarray(values - np.asarray(margin, dtype=np.float32)))
        columns = {"n_fg": ranked.n, "n_bg": np.zeros_like(ranked.n), "statistic": ranked.w_plus, "auc": ranked.auc}
        columns["p"] = ranked.p
    tested = ~np.isnan(columns["p"])
    columns["q"] = np.full(len(tested), np.nan)
    columns["q"][tested] = mann_whitney.q_values(columns["p"][tested])
    return pd.DataFrame(columns)


test_pairs.__test__ = False  # type: ignore[attr-defined]  # pytest takes it for a test where it is imported


def _run(run: Run | str | Path) -> Run:
    return run if isinstance(run, Run) else open_run(run)
