"""prepare: one-hot arrays become a set."""

import collections
from typing import Any

import numpy as np

from satori_hpc.core import sequence, splits
from satori_hpc.core.labels import UNKNOWN
from satori_hpc.errors import InputError, Problems
from satori_hpc.log import progress
from satori_hpc.run import Run
from satori_hpc.stages.room import EXAMPLE, Room, of_examples
from satori_hpc.stages.source import Source, check_length, digests
from satori_hpc.stores import arrays as store
from satori_hpc.stores import dataset, fasta
from satori_hpc.stores.arrays import Arrays, Part
from satori_hpc.stores.examples import Coded, Examples
from satori_hpc.stores.spill import Spill

NAME = 256  # bytes of a sequence's name and of what it is looked up by
BLOCK_COPIES = 8  # of a block of one-hot numbers while it is read
SPLIT_NAMES = {"0": 0, "1": 1, "2": 2, "train": 0, "valid": 1, "val": 1, "test": 2}


def arrays(run: Run, room: Room) -> Source:
    """Read all parts, block by block, to disk; in their own split, or all in one.

    Raises:
        InputError: the files cannot be used, or have no parts where [prepare] split = "given".
        SatoriError: what is kept of every sequence does not fit into memory.
    """
    config = run.config.prepare.arrays
    assert config is not None
    paths = [run.resolve(name) for name in config.files]
    targets = None if config.targets is None else run.resolve(config.targets)
    letters = config.letters and config.letters.replace("U", "T")  # of RNA
    with store.opened(paths, letters=letters, targets=targets) as found:
        first = found.parts[0]
        check_length(run, first.length, path=first.path)
        if first.targets == 1 and config.unknown is not None:
            raise InputError(f"{first.path}: one label, so none can be unknown; remove [prepare.arrays] unknown")
        count = sum(part.examples for part in found.parts)
        room.check(of_examples(count, length=first.length, each=EXAMPLE + NAME))
        split = _given(run, found)
        names = _names(found)
        tokens = Spill(run.dataset_parts / "tokens", (np.uint8, (first.length,)))
        labels = Spill(run.dataset_parts / "labels", (np.uint8, (first.targets,)))
        digest, no_letters, unknown = [], 0, 0
        for part in found.parts:
            blocks = store.blocks(part, unknown=config.unknown, room=room.rows(1) // BLOCK_COPIES)
            for _, some_tokens, some_labels in progress(blocks, what=part.name or "arrays", unit="block"):
                tokens.append(some_tokens)
                labels.append(some_labels)
                digest.append(splits.digests(some_tokens))
                no_letters += int((some_tokens == sequence.N).sum())
                unknown += int((some_labels == UNKNOWN).sum())
        orders = {part.x_name: part.letters for part in found.parts}
    digests_of = np.concatenate(digest)
    places = _places(names, first.length)
    if split is None:
        split = np.zeros(len(names), dtype=np.uint8)
    elif not (split == splits.VALID).any() and (learns := split == splits.TRAIN).any():
        equal = splits.by_appearance(splits.group_digests(digests_of[learns]))
        overlapping = splits.group_overlapping(
            *(each[learns] for each in (places["chrom"].codes, places["start"], places["end"]))
        )
        for groups in (splits.join_groups(equal, overlapping), equal):  # where nearly all overlap, equal ones alone
            split[learns] = splits.hold_out(
                groups, valid_fraction=run.config.prepare.valid_fraction, seed=run.config.seed
            )
            if (split == splits.VALID).any():
                break
    whole = Examples(
        tokens=tokens,
        labels=labels,
        split=split,
        names=names,
        **places,
        targets=found.targets,
        task="binary" if len(found.targets) == 1 else "multilabel",
    )
    summary: dict[str, Any] = {
        "letters": orders,
        "letters_not_ACGT": no_letters,
        "labels_unknown": unknown,
        "sources": digests([*paths, *([] if targets is None else [targets])]),
    }
    return Source(whole, summary, groups=splits.by_appearance(splits.group_digests(digests_of)))


def _given(run: Run, found: Arrays) -> np.ndarray | None:
    """uint8 (examples,): the part that each is in; None when [prepare] splits them otherwise."""
    if run.config.prepare.split != "given":
        return None
    split = np.empty(sum(part.examples for part in found.parts), dtype=np.uint8)
    done = 0
    for part in found.parts:
        rows = slice(done, done + part.examples)
        split[rows] = dataset.SPLITS.index(part.name) if part.name else _named(run, part)
        done = rows.stop
    return split


def _named(run: Run, part: Part) -> list[int]:
    if part.split is None:
        raise InputError(
            f"{part.path}: {part.x_name} is one set, and there is no array split (0, 1, 2 or train, valid, test per "
            f"sequence); add it, or set split = 'random' in [prepare] of {run.config_file}"
        )
    problems = Problems(f"{part.path}: the array split cannot be used:")
    for row, name in enumerate(part.split):
        if name.lower() not in SPLIT_NAMES:
            problems.add(f"row {row}: {name[:40]!r}; expected 0, 1, 2 or train, valid, test")
    problems.raise_any()
    return [SPLIT_NAMES[name.lower()] for name in part.split]


def _names(found: Arrays) -> list[str]:
    """Headers where the files have them, else part and row."""
    names: list[str] = []
    for part in found.parts:
        names += part.headers or [f"{part.name or 'row'}_{row}" for row in range(part.examples)]
    repeated = [name for name, count in collections.Counter(names).items() if count > 1]
    problems = Problems(f"{found.parts[0].path}: headers name several sequences each; give every one its own:")
    for name in repeated:
        problems.add(name[:80])
    problems.raise_any()
    return names


def _places(names: list[str], length: int) -> dict[str, Any]:
    """Coordinates told by headers CHROM:START-END(STRAND); other sequences lie on a chromosome of their own name."""
    numbers: dict[str, int] = {}
    chrom, start, end = (np.empty(len(names), dtype=np.int64) for _ in range(3))
    strand, told = np.empty(len(names), dtype=np.int8), np.empty(len(names), dtype=bool)
    for row, name in enumerate(names):
        found = fasta.interval(name)
        place = found or fasta.Interval(name, 0, length, 1)
        told[row] = found is not None
        chrom[row] = numbers.setdefault(place.chrom, len(numbers))
        start[row], end[row], strand[row] = place.start, place.end, place.strand
    rows = np.flatnonzero(told)
    start[rows], _ = fasta.from_zero(start[rows], end[rows], length=length, shown=lambda place: names[rows[place]][:80])
    return {"chrom": Coded(list(numbers), chrom), "start": start, "end": end, "strand": strand}
