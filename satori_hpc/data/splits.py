"""Split examples into train, valid (model selection) and test (interpretation)."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from satori_hpc.data import chromosomes
from satori_hpc.data.sources.genome import windows

DIGEST = 16  # bytes that identify a sequence
SPLIT = int.from_bytes(b"splt", "big")
TRAIN, VALID, TEST = 0, 1, 2


@dataclass(frozen=True)
class Published:
    """Chromosomes of a split of the literature, without "chr"; None = all that are not named elsewhere."""

    train: tuple[str, ...] | None
    valid: tuple[str, ...]
    test: tuple[str, ...] | None


# SATORI 2.0 (lqaf209), Methods. Its human set has no rows on X and Y.
PUBLISHED = {
    "human": Published(train=(*map(str, range(1, 15)), "18", "19"), valid=("17", "20", "21"), test=None),
    "arabidopsis": Published(train=None, valid=("2",), test=("4",)),
}


KARYOTYPES = {
    "human": {*map(str, range(1, 23)), "X"},
    "arabidopsis": {*map(str, range(1, 6))},
}


def digests(tokens: np.ndarray) -> np.ndarray:
    """Return (examples, DIGEST) bytes; equal digests mean identical sequences."""
    made = [hashlib.blake2b(row.tobytes(), digest_size=DIGEST).digest() for row in np.ascontiguousarray(tokens)]
    return np.frombuffer(b"".join(made), dtype=np.uint8).reshape(-1, DIGEST)


def group_digests(found: np.ndarray) -> np.ndarray:
    """Return number of the group of equal `digests` that each example is in, int64 (examples,), in their order."""
    keys = np.ascontiguousarray(found).view(f"V{DIGEST}")[:, 0]
    groups: np.ndarray = np.unique(keys, return_inverse=True)[1]
    return groups


def by_appearance(groups: np.ndarray) -> np.ndarray:
    """Return the same groups, numbered by their first member."""
    _, first, place = np.unique(groups, return_index=True, return_inverse=True)
    numbers = np.empty(len(first), dtype=np.int64)
    numbers[np.argsort(first)] = np.arange(len(first))
    found: np.ndarray = numbers[place]
    return found


def group_equal(tokens: np.ndarray) -> np.ndarray:
    """Return number of the group of equal sequences that each example is in, int64 (examples,), by first appearance."""
    return by_appearance(group_digests(digests(tokens)))


def group_overlapping(chrom: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return number of the connected component of overlapping intervals that each example is in, int64 (examples,).

    Args:
        chrom, start, end: int (examples,); 0-based, half-open; strands do not matter.
    """
    end = np.maximum(end, start + 1)  # an empty interval represents its position
    pieces = windows.union(chrom, start, end, touching=False)
    # Chromosome and place as one number, so that one search finds the piece of each interval.
    scale = int(end.max(initial=0)) + 1
    found: np.ndarray = np.searchsorted(
        pieces[0].astype(np.int64) * scale + pieces[1], chrom.astype(np.int64) * scale + start, side="right"
    )
    return found - 1


def join_groups(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return number of the group of examples that share a group in `one` or in `other`, or through others.

    By appearance.
    """
    count = int(one.max(initial=-1)) + 1
    links = (np.ones(len(one), dtype=bool), (one, other + count))
    size = count + int(other.max(initial=-1)) + 1
    _, found = connected_components(coo_array(links, shape=(size, size)), directed=False)
    return by_appearance(found[one])


def count_overlapping_test(chrom: np.ndarray, start: np.ndarray, end: np.ndarray, split: np.ndarray) -> int:
    """Return how many test intervals share a base with a training interval; arguments as `group_overlapping`."""
    test, train = split == TEST, split == TRAIN
    found = windows.overlaps_any(chrom[test], start[test], end[test], (chrom[train], start[train], end[train]))
    return int(found.sum())


def random(groups: np.ndarray, *, valid_fraction: float, test_fraction: float, seed: int) -> np.ndarray:
    """Split at random; the examples of a group stay together, so that equal sequences never part.

    Groups are taken in random order; each goes to test while it fits, then to valid, the others train.

    Args:
        groups: int (examples,), as `group_equal` gives them.
        valid_fraction, test_fraction: shares of the examples; each part gets at least one when it can.

    Returns:
        uint8 (examples,), TRAIN, VALID or TEST.
    """
    room = {TEST: max(1, round(test_fraction * len(groups))), VALID: max(1, round(valid_fraction * len(groups)))}
    return _fill(groups, room, seed)


def hold_out(groups: np.ndarray, *, valid_fraction: float, seed: int) -> np.ndarray:
    """Split off a validation part as `random`, from the training part: uint8 (examples,), TRAIN or VALID."""
    return _fill(groups, {VALID: max(1, round(valid_fraction * len(groups)))}, seed)


def _fill(groups: np.ndarray, room: dict[int, int], seed: int) -> np.ndarray:
    """Assign groups in random order to the first part of `room` with space for them; the rest is training."""
    sizes = np.bincount(groups)
    part = np.full(len(sizes), TRAIN, dtype=np.uint8)
    for group in np.random.default_rng([seed, SPLIT]).permutation(len(sizes)):
        for name in room:
            if sizes[group] <= room[name]:
                room[name] -= int(sizes[group])
                part[group] = name
                break
        else:
            if not any(room.values()):
                break
    return part[groups]


def by_chromosome(chrom: np.ndarray, *, valid: Sequence[str], test: Sequence[str]) -> np.ndarray:
    """Split by chromosome: the named ones, in any style (data.chromosomes), are valid and test, all others train.

    Returns:
        uint8 (examples,), TRAIN, VALID or TEST.

    Raises:
        ValueError: a named chromosome does not occur, may be several, or is in both lists.
    """
    known = sorted(set(chrom.tolist()))
    names = list(dict.fromkeys((*valid, *test)))
    meant = dict(zip(names, chromosomes.candidates(names, known), strict=True))
    unknown = [name for name in names if len(meant[name]) != 1]
    if unknown:
        raise ValueError(f"no example is on {', '.join(unknown)}; there are: {_listed(known)}")
    parts = {
        part: {known[meant[name][0]] for name in part_names} for part, part_names in ((VALID, valid), (TEST, test))
    }
    if both := sorted(parts[VALID] & parts[TEST]):
        raise ValueError(f"{', '.join(both)} in both")
    split = np.full(len(chrom), TRAIN, dtype=np.uint8)
    for part, found in parts.items():
        split[np.isin(chrom, list(found))] = part
    return split


def draw_chromosomes(chrom: np.ndarray, *, valid_fraction: float, test_fraction: float, seed: int) -> np.ndarray:
    """Split by whole chromosomes, drawn at random until test and then valid hold their shares of the examples.

    A part takes chromosomes in random order while they fit; where none fits, the smallest of those that are left.

    Args:
        chrom: int (examples,), number of each one's chromosome.
        valid_fraction, test_fraction: shares of the examples.

    Returns:
        uint8 (examples,), TRAIN, VALID or TEST; with fewer than three chromosomes not all parts have any.
    """
    names, place, sizes = np.unique(chrom, return_inverse=True, return_counts=True)
    order = np.random.default_rng([seed, SPLIT]).permutation(len(names))
    part = np.full(len(names), TRAIN, dtype=np.uint8)
    for name, fraction in ((TEST, test_fraction), (VALID, valid_fraction)):
        room = max(1, round(fraction * len(chrom)))
        for number in order[part[order] == TRAIN]:
            if sizes[number] <= room:
                room -= int(sizes[number])
                part[number] = name
        left = order[part[order] == TRAIN]
        if not (part == name).any() and len(left) > 1:
            part[left[sizes[left].argmin()]] = name
    found: np.ndarray = part[place]
    return found


def known_genome(names: Iterable[str]) -> str | None:
    """Name the published split whose nuclear chromosomes are those of a genome; None for another genome."""
    short = {chromosomes.meaning(name).chromosome for name in names}
    nuclear = {name for name in short if name.isdigit() or name in ("X", "Z", "W")}  # neither organelles nor scaffolds
    return next((name for name, karyotype in KARYOTYPES.items() if nuclear == karyotype), None)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:30]) + (f", ... ({len(names)} in all)" if len(names) > 30 else "")


def published(chrom: np.ndarray, name: str) -> np.ndarray:
    """Split by the chromosomes of PUBLISHED[name], whatever style their names are of (data.chromosomes).

    Returns:
        uint8 (examples,), TRAIN, VALID or TEST.
    """
    parts = PUBLISHED[name]
    names, place = np.unique(chrom, return_inverse=True)
    short = [chromosomes.meaning(str(each)).chromosome for each in names]
    rest = TRAIN if parts.train is None else TEST
    split = np.full(len(names), rest, dtype=np.uint8)
    for part, members in ((TRAIN, parts.train), (VALID, parts.valid), (TEST, parts.test)):
        split[[each in (members or ()) for each in short]] = part
    return split[place]


def published_rule(name: str, present: Iterable[str]) -> str:
    """Describe the chromosomes that PUBLISHED[name] needs for each part, and those `present`."""
    parts = PUBLISHED[name]
    wanted = [
        f"{', '.join(members) if members is not None else 'all others'} for {part}"
        for part, members in (("train", parts.train), ("valid", parts.valid), ("test", parts.test))
    ]
    return f"{name!r} wants chromosomes {'; '.join(wanted)}; examples are on {_listed(sorted(present))}"


@dataclass(frozen=True)
class Tally:
    """Label counts of the parts of a split.

    Attributes:
        examples: int64 (3,).
        zeros, ones: int64 (3, targets), labels of each kind.
    """

    examples: np.ndarray
    zeros: np.ndarray
    ones: np.ndarray


def tally(blocks: Iterable[np.ndarray], split: np.ndarray, *, targets: int) -> Tally:
    """Count labels of 0, 1 and UNKNOWN, (examples, targets), given in blocks of rows, in the parts of `split`."""
    zeros, ones = (np.zeros((3, targets), dtype=np.int64) for _ in range(2))
    done = 0
    for labels in blocks:
        parts = split[done : done + len(labels)]
        done += len(labels)
        for part in (TRAIN, VALID, TEST):
            chosen = labels[parts == part]
            zeros[part] += (chosen == 0).sum(axis=0)
            ones[part] += (chosen == 1).sum(axis=0)
    return Tally(np.bincount(split.astype(np.int64), minlength=3), zeros, ones)


def complaints(found: Tally, task: str) -> list[str]:
    """Describe why a split is unusable: an empty part, or one in which no label has both classes."""
    told = []
    for part, name in ((TRAIN, "train"), (VALID, "valid"), (TEST, "test")):
        count, zeros, ones = int(found.examples[part]), found.zeros[part], found.ones[part]
        if not count:
            told.append(f"{name}: no examples")
        elif not ((zeros > 0) & (ones > 0)).any():
            what = (
                f"all {count} examples have label {int(ones[0] > 0)}"
                if task == "binary"
                else f"each label is the same in all {count} examples"
            )
            told.append(f"{name}: {what}")
    return told


def shared_groups(groups: np.ndarray, split: np.ndarray) -> int:
    """Return how many groups of equal sequences have members in more than one part."""
    present = np.zeros((int(groups.max()) + 1 if len(groups) else 0, 3), dtype=bool)
    present[groups, split.astype(np.int64)] = True
    return int((present.sum(axis=1) > 1).sum())


# Labels as small integers: 1, 0, or UNKNOWN.

UNKNOWN = 255  # far from 0 and 1: a sum that forgets it is plainly wrong


def known(labels: np.ndarray) -> np.ndarray:
    """Return which labels are 0 or 1, bool of the same shape."""
    found: np.ndarray = labels != UNKNOWN
    return found


def both_classes(labels: np.ndarray) -> np.ndarray:
    """Return which columns of (E, T) labels have both classes, (T,) bool."""
    found: np.ndarray = (labels == 0).any(axis=0) & (labels == 1).any(axis=0)
    return found
