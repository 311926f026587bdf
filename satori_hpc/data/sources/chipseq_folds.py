"""Make one data set from ChIP-seq folds of one or several TFs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc.data import sequence, splits
from satori_hpc.data.dataset import Examples
from satori_hpc.data.sequence import Letters
from satori_hpc.data.source import CHANGED, DROPPED, ExcludedRecords, MemoryBudget, Source, check_length, digests
from satori_hpc.data.splits import UNKNOWN
from satori_hpc.errors import InputError, Problems
from satori_hpc.log import logger
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import files
from satori_hpc.run.layout import Run

# Training and test folds of several TFs as one set: equal sequences become one example, positives get shuffles.
#
# The files tell nothing of a sequence but what one TF does with it; what the other TFs do is UNKNOWN, unless the
# sequence occurs in their files, too.

PURPOSE = int.from_bytes(b"fold", "big")  # keys the generators of this module


@dataclass(frozen=True)
class Fold:
    """The rows of a file, in its order.

    Attributes:
        events: their EventIDs, unique. They number the peaks of the file and hold no place in a genome.
        tokens: uint8 (rows, length).
        bound: uint8 (rows,), 0 or 1; the same for equal sequences.
        lines: int64 (rows,), from 1.
    """

    events: list[str]
    tokens: np.ndarray
    bound: np.ndarray
    lines: np.ndarray


@dataclass(frozen=True)
class MergedFolds:
    """Distinct sequences of all files, in the order in which they first occur; training files come before test files.

    Attributes:
        tokens: uint8 (examples, length).
        labels: uint8 (examples, TFs), 0, 1 or UNKNOWN.
        test: bool (examples,).
        first: int64 (examples,), each one's row among those of all training files, then of all test files.
        in_test: int64 (rows,), training rows that were left out because their sequence is in a test file.
        repeats: int64 (rows,), rows of all files that are one example with an earlier row of the same sequence.
    """

    tokens: np.ndarray
    labels: np.ndarray
    test: np.ndarray
    first: np.ndarray
    in_test: np.ndarray
    repeats: np.ndarray


def join(train: Sequence[Fold], test: Sequence[Fold], *, missing_label: str) -> MergedFolds:
    """Merge the files of all TFs.

    Test labels come from test files alone, so that a TF is tested on all rows of its own test file and on no others.

    Args:
        train, test: a file per TF, in the order of the labels.
        missing_label: label of a training sequence for TFs whose training files lack it: "unknown" or "absent".
    """
    tokens = np.concatenate([fold.tokens for fold in (*train, *test)])
    bound = np.concatenate([fold.bound for fold in (*train, *test)])
    label = np.concatenate([np.full(len(fold.bound), at) for part in (train, test) for at, fold in enumerate(part)])
    from_test = np.arange(len(tokens)) >= sum(len(fold.bound) for fold in train)
    group = splits.group_equal(tokens)
    in_test = np.zeros(group.max(initial=-1) + 1, dtype=bool)
    in_test[group[from_test]] = True

    counts = from_test | ~in_test[group]
    labels = np.full((len(in_test), len(train)), UNKNOWN, dtype=np.uint8)
    if missing_label == "absent":
        labels[~in_test] = 0
    labels[group[counts], label[counts]] = bound[counts]
    groups, first = np.unique(group[counts], return_index=True)
    first = np.flatnonzero(counts)[first]
    order = np.argsort(first)
    groups, first = groups[order], first[order]
    return MergedFolds(
        tokens=tokens[first],
        labels=labels[groups],
        test=in_test[groups],
        first=first,
        in_test=np.flatnonzero(~counts),
        repeats=np.setdiff1d(np.flatnonzero(counts), first),
    )


def negatives(joined: MergedFolds, *, kind: str, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Shuffle every training sequence that a TF binds, keyed by (seed, example).

    Args:
        joined: the examples.
        kind: "dinucleotide" or "blocks".
        seed: of the run.

    Returns:
        (sequences, uint8 (negatives, length); int64 (negatives,), the example that each is a shuffle of; how many were
        left out because they equal an example or an earlier shuffle).
    """
    parents = np.flatnonzero(~joined.test & (joined.labels == 1).any(axis=1))
    shuffle = SHUFFLES[kind]
    made = np.empty((len(parents), joined.tokens.shape[1]), dtype=np.uint8)
    for row, parent in zip(made, parents.tolist(), strict=True):
        row[:] = shuffle(joined.tokens[parent], np.random.default_rng([seed, PURPOSE, parent]))
    group = splits.group_equal(np.concatenate([joined.tokens, made]))
    _, first = np.unique(group, return_index=True)
    new = np.sort(first[first >= len(joined.tokens)]) - len(joined.tokens)
    return made[new], parents[new], len(parents) - len(new)


def block_shuffle(tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One sequence cut into blocks of two letters from its start, in random order; an odd last letter is a block, too.

    It is called a dinucleotide shuffle where ChIP-seq folds were published with it (lab-rasool/TFBS),
    but keeps only every other dinucleotide: those that arise between blocks are as chance has it.
    """
    blocks = [tokens[start : start + 2] for start in range(0, len(tokens), 2)]
    return np.concatenate([blocks[at] for at in rng.permutation(len(blocks)).tolist()])


SHUFFLES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "dinucleotide": sequence.dinucleotide_shuffle,
    "blocks": block_shuffle,
}


# ChIP-seq folds as DeepBind's supplement has them: tab-separated `FoldID EventID seq Bound`, plain or gzip.

COLUMNS = ("EventID", "seq", "Bound")
ROW = 1000  # bytes for what is kept of a row besides its sequence
COPIES = 4  # of a sequence, while all are joined
CHECKED = 2**12  # rows between two looks at the memory


def read_fold(path: Path, *, key: str, alphabet: str = "dna", check: Callable[[int], None] | None = None) -> Fold:
    """Read a file; columns are found by their names, others (FoldID) are not read.

    Args:
        path: of the file.
        key: where the user named it, for messages.
        alphabet: "dna", or "rna": U is read as T.
        check: told from time to time how many bytes are taken; raises when these are too many.

    Raises:
        InputError: it is missing, unreadable, empty or has no such columns, or rows cannot be used, or hold letters of
            another alphabet: all of them, with their lines.
    """
    numbered = ((number, line) for number, line in files.lines(path, key=key) if line.strip())
    number, header = next(numbered, (0, ""))
    names = [cell.strip() for cell in header.split("\t")]
    missing = [name for name in COLUMNS if names.count(name) != 1]
    if missing:
        raise InputError(
            f"{path}: not a fold file: its first line is {header[:60]!r}; expected tab-separated names, among them "
            f"{', '.join(COLUMNS)}, once each (missing or repeated: {', '.join(missing)}); correct the file or "
            f"{key} in run.toml"
        )
    problems = Problems(f"{path}: not a fold file that can be used:")
    places = [names.index(name) for name in COLUMNS]
    events: dict[str, int] = {}
    seen: dict[bytes, tuple[str, int]] = {}
    tokens: list[np.ndarray] = []
    bound: list[int] = []
    alphabet_letters, taken = Letters(alphabet), 0
    for number, line in numbered:
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != len(names):
            problems.add(f"line {number}: {len(cells)} columns; expected {len(names)}, as in the first line")
            continue
        event, letters, label = (cells[place] for place in places)
        complaint = _complaint(event, letters, label, len(tokens[0]) if tokens else len(letters))
        if not complaint and events.setdefault(event, number) != number:
            complaint = f"EventID {event} stands in line {events[event]}, too; give each row its own"
        try:
            row = alphabet_letters.encode(letters)
        except ValueError as error:
            complaint = f"{error}; expected A, C, G, T, N or another IUPAC letter; correct it"
        if not complaint:
            before, at = seen.setdefault(row.tobytes(), (label, number))
            if before != label:
                complaint = f"the sequence of line {at} again, there Bound is {before}, here {label}; keep one of them"
        if complaint:
            problems.add(f"line {number}: {complaint}")
            continue
        tokens.append(row)
        bound.append(int(label))
        taken += ROW + COPIES * len(row)
        if check is not None and len(tokens) % CHECKED == 0:
            check(taken)
    if not tokens and not problems:
        problems.add(f"no rows behind the first line; correct the file, or {key} in run.toml")
    told, grave = alphabet_letters.complaint()
    if grave:
        problems.add(told)
    elif told:
        logger.warning("%s: %s", path, told)
    problems.raise_any()
    lines = np.array(list(events.values()), dtype=np.int64)
    return Fold(list(events), np.stack(tokens), np.array(bound, dtype=np.uint8), lines)


def _complaint(event: str, letters: str, label: str, length: int) -> str:
    if not event:
        return "no EventID; give each row its own"
    if not letters:
        return "no sequence; add it or remove the row"
    if len(letters) != length:
        return f"the sequence is {len(letters)} bp long; expected {length} bp, as in the rows before; cut all to one"
    return "" if label in ("0", "1") else f"Bound is {label[:20]!r}; expected 0 or 1"


def make(run: Run, runtime: Runtime) -> Source:
    """Training files, with shuffled negatives, train and validate; test files test.

    Raises:
        InputError: a file cannot be used, or they do not go together.
        SatoriError: they do not fit into memory.
    """
    config, seed, budget = run.config.prepare.folds, run.config.seed, MemoryBudget.of(runtime)
    assert config is not None
    paths = [[run.resolve(name) for name in names] for names in (config.train, config.test)]
    files = [
        [
            read_fold(
                path, key=f"[prepare.folds] {part}", alphabet=run.config.prepare.alphabet, check=budget.check_file
            )
            for path in named
        ]
        for part, named in zip(("train", "test"), paths, strict=True)
    ]
    _check_lengths(paths, files)
    check_length(run, files[0][0].tokens.shape[1], path=paths[0][0])
    joined = join(*files, missing_label=config.missing_label)
    names = [
        f"{label}.{part}.{event}"
        for part, found in zip(("train", "test"), files, strict=True)
        for label, rows in zip(config.labels, found, strict=True)
        for event in rows.events
    ]
    if len(joined.in_test):
        shown = ", ".join(names[row] for row in joined.in_test[:5].tolist())
        logger.warning(
            "%d training rows hold a sequence of a test file and are left out (%s lists them): %s",
            len(joined.in_test),
            run.excluded_records.name,
            shown,
        )
    shuffles, parents, repeats = np.empty((0, joined.tokens.shape[1]), np.uint8), np.empty(0, np.int64), 0
    if config.negatives != "none":
        shuffles, parents, repeats = negatives(joined, kind=config.negatives, seed=seed)
    examples = [names[row] for row in joined.first.tolist()]
    examples += [f"{examples[parent]}.shuffled" for parent in parents.tolist()]
    labels = np.concatenate([joined.labels, np.zeros((len(shuffles), len(config.labels)), dtype=np.uint8)])
    # A shuffle goes where its original goes.
    family = np.concatenate([np.arange(len(joined.test)), parents])
    split = np.full(len(labels), splits.TEST, dtype=np.uint8)
    learns = ~np.concatenate([joined.test, np.zeros(len(parents), dtype=bool)])
    if learns.any():
        split[learns] = splits.hold_out(
            np.unique(family[learns], return_inverse=True)[1],
            valid_fraction=run.config.prepare.valid_fraction,
            seed=seed,
        )
    tokens = np.concatenate([joined.tokens, shuffles])
    whole = Examples(tokens, labels, names=examples, targets=list(config.labels), split=split)
    rows = sum(len(part.events) for part in files[0]), sum(len(part.events) for part in files[1])
    summary: dict[str, Any] = {
        "rows_train": rows[0],
        "rows_test": rows[1],
        "rows_train_left_out_as_in_test": len(joined.in_test),
        "equal_rows_merged": len(joined.repeats),
        "shuffled_negatives": len(shuffles),
        "shuffled_negatives_left_out_as_repeats": repeats,
        "labels_unknown": int((labels == UNKNOWN).sum()),
        "letters_not_ACGT": int((tokens == sequence.N).sum()),
        "sources": digests(path for part in paths for path in part),
    }
    read = list(zip([*paths[0], *paths[1]], [*files[0], *files[1]], strict=True))
    return Source(whole, summary, excluded_records=_excluded_records(joined, names, read))


def _excluded_records(joined: MergedFolds, names: list[str], files: list[tuple[Path, Fold]]) -> ExcludedRecords:
    """The rows that make no example of their own; `names` and `files` are those of all training, then test files."""
    excluded_records, begin = ExcludedRecords(), 0
    chrom = np.array(names, dtype=object)
    for number, (path, rows) in enumerate(files):
        end = begin + len(rows.events)
        for at, chosen, done, reason in (
            (0, joined.in_test, DROPPED, "its sequence is in a test file"),
            (1, joined.repeats, CHANGED, "one example with an earlier row of the same sequence"),
        ):
            mine = chosen[(chosen >= begin) & (chosen < end)]
            start = np.zeros(len(mine), dtype=np.int64)
            line = rows.lines[mine - begin]
            length = rows.tokens.shape[1]
            columns = chrom[mine], start, start + length
            excluded_records.add(*columns, place=(number, at), reason=reason, file=path.name, line=line, done=done)
        begin = end
    return excluded_records


def _check_lengths(paths: list[list[Path]], files: list[list[Fold]]) -> None:
    """All files must have sequences of one length."""
    lengths = {
        path: rows.tokens.shape[1]
        for named, found in zip(paths, files, strict=True)
        for path, rows in zip(named, found, strict=True)
    }
    first, expected = next(iter(lengths.items()))
    problems = Problems(f"the sequences of {first} are {expected} bp long; those of other files are not:", InputError)
    for path, length in lengths.items():
        if length != expected:
            problems.add(f"{path}: {length} bp; cut all to one length")
    problems.raise_any()
