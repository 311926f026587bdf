"""Motif sites of examples, their places, and values between places: the output of scoring, as stored."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

# How the values of several pairs of sites become the score of two motifs in an example.
LARGEST, LARGEST_SIZE, FIRST = "largest", "largest-size", "first"


@dataclass(frozen=True)
class SiteScores:
    """Sites of some examples and the values between their places; ragged, examples concatenated.

    A place is a position that carries values: a pooled bin for attention, a mutated site for methods that mutate.
    Several sites may share a place.

    Attributes:
        counts: int32 (E,2), sites and places of each example.
        site: int16 (S,4), motif, start (bp, of its window in the sequence; negative = it hangs over the left end),
            strand (1, -1) and place (number within its example); by example, motif, place.
        strength: float32 (S,), of the site, 1 = the threshold of its motif.
        place: int16 (N,), start of each place, bp; by example, rising.
        value: float32 (V,), between places i < j of an example, row by row; directed: from place i to place j, all m^2
            of them. NaN = no pair.
        extras: further float32 arrays like `value`, by name.
        effects: float32 (N,) by name, effects of single places; NaN = none.
    """

    counts: np.ndarray
    site: np.ndarray
    strength: np.ndarray
    place: np.ndarray
    value: np.ndarray
    extras: dict[str, np.ndarray] = field(default_factory=dict)
    effects: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.counts)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays by their names in a store."""
        told = {name: getattr(self, name) for name in ("counts", "site", "strength", "place", "value")}
        return told | self.extras | self.effects

    @staticmethod
    def join(parts: "Sequence[SiteScores]") -> "SiteScores":
        """Concatenate all parts, in their order."""

        def joined(values: list[np.ndarray]) -> np.ndarray:
            return values[0] if len(values) == 1 else np.concatenate(values)

        first = parts[0]
        return SiteScores(
            **{
                name: joined([getattr(part, name) for part in parts])
                for name in ("counts", "site", "strength", "place", "value")
            },
            extras={name: joined([part.extras[name] for part in parts]) for name in first.extras},
            effects={name: joined([part.effects[name] for part in parts]) for name in first.effects},
        )


def entries(places: np.ndarray | int, *, directed: bool) -> np.ndarray | int:
    """Return the number of values between so many places of an example."""
    return places * places if directed else places * (places - 1) // 2


def ragged(
    site: np.ndarray,
    strength: np.ndarray,
    place: np.ndarray,
    used: np.ndarray,
    value: np.ndarray,
    *,
    directed: bool = False,
    extras: dict[str, np.ndarray] | None = None,
    effects: dict[str, np.ndarray] | None = None,
) -> SiteScores:
    """Return SiteScores of padded arrays.

    Args:
        site: int (S,5): example, motif, start, strand, place; by example, motif, place.
        strength: float32 (S,).
        place: int (E,M), starts of the places, bp.
        used: bool (E,M), which of them there are; True for the first few of a row.
        value: float32 (E,M,M), between places; symmetric unless directed.
        directed: keep both directions.
        extras: further (E,M,M), by name.
        effects: (E,M), by name.
    """
    examples, most = used.shape
    counts = np.stack([np.bincount(site[:, 0], minlength=examples), used.sum(axis=1)], axis=1).astype(np.int32)
    both = used[:, :, None] & used[:, None, :]
    if not directed:
        both &= np.triu(np.ones((most, most), dtype=bool), k=1)
    return SiteScores(
        counts=counts,
        site=site[:, 1:].astype(np.int16),
        strength=strength.astype(np.float32, copy=False),
        place=place[used].astype(np.int16),
        value=value[both].astype(np.float32, copy=False),
        extras={name: values[both].astype(np.float32, copy=False) for name, values in (extras or {}).items()},
        effects={name: values[used].astype(np.float32, copy=False) for name, values in (effects or {}).items()},
    )
