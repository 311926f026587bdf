"""Encode DNA as tokens: A, C, G, T, N = 0 .. 4, one uint8 per position. RNA is read as DNA, its U as T."""

from collections.abc import Mapping

import numpy as np

A, C, G, T, N = range(5)
LETTERS = "ACGTN"
COMPLEMENT = np.array([T, G, C, A, N], dtype=np.uint8)
NOT_A_LETTER = 255
ALPHABETS = ("dna", "rna")
NO_NUCLEOTIDES = "EFIJLOPQZ"  # letters for amino acids that are no nucleotide codes
TRACE = 1e-3  # share of letters of another alphabet above which sequences are refused
SHUFFLE = int.from_bytes(b"shuf", "big")

_LETTER_BYTES = np.frombuffer(LETTERS.encode(), dtype=np.uint8)


def _codes(alphabet: str) -> np.ndarray:
    """Return the token of every byte: any letter other than ACGT (ACGU for RNA) is an unknown base."""
    codes = np.full(256, NOT_A_LETTER, dtype=np.uint8)
    for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        token = max(LETTERS.find(letter), -1)
        codes[[ord(letter), ord(letter.lower())]] = N if token < 0 else token
    if alphabet == "rna":
        codes[[ord("U"), ord("u")]] = T
    return codes


_CODES = {alphabet: _codes(alphabet) for alphabet in ALPHABETS}


def encode(text: str | bytes, alphabet: str = "dna") -> np.ndarray:
    """Return tokens of one sequence.

    Args:
        text: letters in any case; each letter other than A, C, G, T becomes N.
        alphabet: "dna", or "rna": U is read as T.

    Returns:
        uint8, shape (length,).

    Raises:
        ValueError: a character is not a letter; the message names it and its position, from 1.
    """
    raw = text.encode("utf-8") if isinstance(text, str) else text
    tokens = _CODES[alphabet][np.frombuffer(raw, dtype=np.uint8)]
    wrong = np.flatnonzero(tokens == NOT_A_LETTER)
    if wrong.size:
        place = int(wrong[0])
        found = raw[place : place + 1].decode("latin-1") if raw[place] < 128 else raw[place : place + 4]
        raise ValueError(f"{found!r} at position {place + 1} is not a letter")
    return tokens


class Letters:
    """Encode the sequences of one source, and count their letters.

    Args:
        alphabet: "dna" or "rna".
    """

    def __init__(self, alphabet: str = "dna") -> None:
        self.alphabet = alphabet
        self._counts = np.zeros(256, dtype=np.int64)

    def encode(self, text: str | bytes) -> np.ndarray:
        """Encode as the function `encode`."""
        raw = text.encode("utf-8") if isinstance(text, str) else text
        self._counts += np.bincount(np.frombuffer(raw, dtype=np.uint8), minlength=256)
        return encode(raw, self.alphabet)

    def counts(self) -> dict[str, int]:
        """Count the occurrences of each letter, in upper case, by descending frequency."""
        found = {chr(code): int(self._counts[code] + self._counts[code + 32]) for code in range(ord("A"), ord("Z") + 1)}
        return {letter: count for letter, count in sorted(found.items(), key=lambda item: -item[1]) if count}

    def complaint(self) -> tuple[str, bool]:
        """Describe as the function `complaint`."""
        counts = self.counts()
        return complaint(counts, letters=sum(counts.values()), alphabet=self.alphabet, none_is_t=not counts.get("T"))


def complaint(counts: Mapping[str, int], *, letters: int, alphabet: str, none_is_t: bool = False) -> tuple[str, bool]:
    """Describe letters that do not belong to the expected alphabet.

    Args:
        counts: of letters, in upper case.
        letters: all letters.
        alphabet: "dna" or "rna", as expected.
        none_is_t: no letter is T, so that any U indicates RNA.

    Returns:
        (words for the user, "" where there is nothing to say; whether so many are of another alphabet that the
        sequences cannot be used).
    """
    told, grave = [], False
    uracil = counts.get("U", 0) if alphabet == "dna" else 0
    if uracil:
        told.append(
            f"{uracil:,} of {letters:,} letters are U, which is RNA; have U read as T by alphabet = 'rna' in [prepare] "
            "of run.toml (satori-hpc new: --set prepare.alphabet=rna), or write T"
        )
        grave = none_is_t or uracil > TRACE * letters
    others = {letter: counts[letter] for letter in NO_NUCLEOTIDES if counts.get(letter)}
    if others:
        listed = ", ".join(f"{count:,} {letter}" for letter, count in others.items())
        told.append(
            f"letters that stand for no nucleotide ({listed}, of {letters:,} letters): is it protein? expected A, C, "
            "G, T, N or another IUPAC letter of nucleotides"
        )
        grave |= sum(others.values()) > TRACE * letters
    return "; ".join(told), grave


def decode(tokens: np.ndarray) -> str:
    """Decode the tokens of one sequence, shape (length,)."""
    return _LETTER_BYTES[tokens].tobytes().decode()


def reverse_complement(tokens: np.ndarray) -> np.ndarray:
    """Return the other strand, read 5' to 3'; the last axis is position."""
    return COMPLEMENT[tokens[..., ::-1]]


def dinucleotide_shuffle(tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one sequence with the same dinucleotides in another order, drawn uniformly from all such sequences.

    A sequence is a walk over its bases that uses every dinucleotide once. The walk's last step out of each base
    forms a tree toward the final base; drawing that tree at random and permuting all other steps gives every walk
    the same probability (Altschul and Erickson 1985; the tree by Wilson 1996). N is treated as a fifth base.

    Args:
        tokens: (length,).
        rng: source of randomness.

    Returns:
        uint8 (length,): first and last base and all dinucleotide counts are those of `tokens`.
    """
    if len(tokens) < 4:
        return tokens.copy()
    steps = np.zeros((5, 5), dtype=np.int64)
    np.add.at(steps, (tokens[:-1], tokens[1:]), 1)
    last_step = _random_tree(steps, int(tokens[-1]), rng)
    successors = []
    for letter in range(5):
        counts = steps[letter].copy()
        final = last_step[letter]
        if final >= 0:
            counts[final] -= 1
        order = rng.permutation(np.repeat(np.arange(5, dtype=np.uint8), counts)).tolist()
        successors.append(order if final < 0 else [*order, final])
    letter = int(tokens[0])
    walk, used = [letter], [0] * 5
    for _ in range(len(tokens) - 1):
        following = successors[letter][used[letter]]
        used[letter] += 1
        letter = following
        walk.append(letter)
    return np.array(walk, dtype=np.uint8)


def _random_tree(steps: np.ndarray, root: int, rng: np.random.Generator) -> list[int]:
    """Return for each base the base of its last step (-1: the root, and bases that are never left)."""
    towards = [-1] * 5
    cumulative = np.cumsum(np.where(np.eye(5, dtype=bool), 0, steps), axis=1)
    in_tree = {root}
    for start in np.flatnonzero(steps.sum(axis=1)).tolist():
        letter = start
        while letter not in in_tree:
            # Overwriting the direction on a second visit erases loops.
            towards[letter] = int(
                np.searchsorted(cumulative[letter], rng.integers(cumulative[letter][-1]), side="right")
            )
            letter = towards[letter]
        letter = start
        while letter not in in_tree:
            in_tree.add(letter)
            letter = towards[letter]
    return towards


def shuffled_controls(tokens: np.ndarray, *, seed: int, examples: np.ndarray | None = None) -> np.ndarray:
    """Return a dinucleotide shuffle of every sequence, (examples, length); each keyed by (seed, example) alone.

    Args:
        tokens: uint8 (examples, length).
        seed: of the run.
        examples: int64 (examples,), their numbers; default: 0, 1, 2, ...
    """
    keys = range(len(tokens)) if examples is None else examples.tolist()
    controls = np.empty_like(tokens)
    for control, row, key in zip(controls, tokens, keys, strict=True):
        control[:] = dinucleotide_shuffle(row, np.random.default_rng([seed, SHUFFLE, key]))
    return controls


# Decode one-hot arrays to tokens; report columns that are not one-hot.


def decode_one_hot(columns: np.ndarray, *, letters: str = "ACGT") -> tuple[np.ndarray, np.ndarray]:
    """Return tokens of one-hot sequences.

    Args:
        columns: numbers (examples, 4, length). A column is a base when one number is 1 and three are 0, and N when
            all are 0, or all 0.25.
        letters: the order of A, C, G and T in the second axis.

    Returns:
        (uint8 (examples, length); int64 (columns, 2), example and position of every column that is none of these).
    """
    one = columns == 1
    zeros = (columns == 0).sum(axis=1, dtype=np.uint8)
    letter = (one.sum(axis=1, dtype=np.uint8) == 1) & (zeros == 3)
    unknown = zeros == 4
    if columns.dtype.kind == "f":
        unknown |= (columns == 0.25).all(axis=1)
    code = np.array([LETTERS.index(each) for each in letters], dtype=np.uint8)
    tokens = np.where(letter, code[one.argmax(axis=1)], np.uint8(N))
    return tokens, np.argwhere(~letter & ~unknown)
