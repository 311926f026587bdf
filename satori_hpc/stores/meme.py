"""Motif files in MEME's minimal format, version 4 and later."""

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from satori_hpc.core.motif import LETTERS, UNIFORM, Motif
from satori_hpc.errors import InputError, Problems
from satori_hpc.stores import atomic

DEFAULT_SITES = 20  # what MEME assumes when a file does not tell
SUM_TOLERANCE = 0.02  # rows rounded to two digits are still accepted, and then scaled to 1
_GZIP = b"\x1f\x8b"


@dataclass
class _Lines:
    """The lines of a file and where the reader stands; numbers start at 1."""

    lines: list[str]
    number: int = 0

    def __iter__(self) -> Iterator[str]:
        while self.number < len(self.lines):
            self.number += 1
            yield self.lines[self.number - 1]

    def back(self) -> None:
        """Let the last line be read again."""
        self.number -= 1


def read_meme(path: Path, *, may_be_empty: bool = False) -> tuple[list[Motif], np.ndarray]:
    """Read a MEME file; plain or gzipped, any line ends, the last one may lack its own.

    Lines that are not needed (strands, URLs, log-odds matrices, text) are passed over. "MOTIF id name" gives
    identifier and name; with one word it is the name. Control characters are dropped from names.

    Args:
        path: the file.
        may_be_empty: a file without motifs is no error.

    Returns:
        motifs: in the order of the file; `sites` is 20 where the file does not tell.
        background: (4,) letter frequencies, uniform where the file does not tell.

    Raises:
        InputError: every problem with its line: not a MEME file, an older version, another alphabet, rows of the
            wrong length or sum, missing rows, the same motif twice, no motif.
    """
    lines = _Lines(_text(path).splitlines())
    problems = Problems(f"{path}: cannot be used as a MEME motif file:")
    if not any(_version(line, problems, number) for number, line in enumerate(lines.lines, start=1)):
        problems.add("no line 'MEME version 4' (or later): not a MEME motif file")
        problems.raise_any()
    motifs: list[Motif] = []
    background = UNIFORM
    first_line: dict[str, int] = {}
    heading: tuple[str, str] | None = None
    for line in lines:
        if line.startswith("ALPHABET"):
            _check_alphabet(line, lines, problems)
        elif line.startswith("Background letter frequencies"):
            background = _background(line, lines, problems)
        elif line.startswith("MOTIF"):
            heading = _heading(line)
            if not heading[1]:
                problems.add(f"line {lines.number}: MOTIF without a name")
            key = heading[0] or heading[1]
            if key in first_line:
                problems.add(f"line {lines.number}: motif {key!r} is already on line {first_line[key]}")
            first_line.setdefault(key, lines.number)
        elif line.startswith("letter-probability matrix"):
            if heading is None:
                problems.add(f"line {lines.number}: a matrix without a MOTIF line before it")
            found = _matrix(line, lines, problems)
            if heading is not None and found is not None:
                ppm, sites = found
                motifs.append(Motif(name=heading[1], ppm=ppm, sites=sites, identifier=heading[0]))
            heading = None
    if not motifs and not problems and not may_be_empty:
        problems.add("no motif in it")
    problems.raise_any()
    return motifs, background


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP):
            content = gzip.decompress(content)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip file ({error})") from None
    # Only line feeds end a line here: names may hold separators that str.splitlines would split at.
    text = content.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"[\v\f\x1c-\x1e\x85\u2028\u2029]", " ", text)


def _version(line: str, problems: Problems, number: int) -> bool:
    match = re.match(r"MEME version\s+(\d+)", line)
    if match and int(match.group(1)) < 4:
        problems.add(f"line {number}: MEME version {match.group(1)}; 4 or later is read")
    return match is not None


def _check_alphabet(line: str, lines: _Lines, problems: Problems) -> None:
    begin = lines.number
    short = re.match(r"ALPHABET\s*=\s*(\S*)", line)
    if short:
        found = short.group(1).upper()
    else:
        # A definition, one letter per line, complements joined by "~", up to END ALPHABET.
        defined: list[str] = []
        for inner in lines:
            if inner.startswith("END ALPHABET"):
                break
            core = re.match(r"(\S).*~\s*(\S)", inner)
            defined.extend(core.groups() if core else ())
        found = "".join(sorted(defined)).upper()
    if found != LETTERS:
        problems.add(f"line {begin}: alphabet {found!r}, expected {LETTERS}")


def _background(line: str, lines: _Lines, problems: Problems) -> np.ndarray:
    """Frequencies such as 'A 0.3 C 0.2 G 0.2 T 0.3', on one line or several."""
    begin = lines.number
    words: list[str] = []
    for inner in lines:
        if len(words) >= 8 or not re.match(r"\s*[ACGTacgt]\s+[\d.]", inner):
            lines.back()
            break
        words.extend(inner.split())
    try:
        found = {words[i].upper(): float(words[i + 1]) for i in range(0, 8, 2)}
        values = np.array([found[letter] for letter in LETTERS])
    except (KeyError, ValueError, IndexError):
        problems.add(f"line {begin}: background frequencies of A, C, G and T expected below")
        return UNIFORM
    if not (values > 0).all() or abs(values.sum() - 1) > SUM_TOLERANCE:
        problems.add(f"line {begin}: background frequencies {values.tolist()} are not positive numbers that sum to 1")
        return UNIFORM
    return values / values.sum()


def _heading(line: str) -> tuple[str, str]:
    """(identifier or '', name) of a MOTIF line."""
    words = [_printable(word) for word in line[len("MOTIF") :].split()]
    if len(words) < 2:
        return "", words[0] if words else ""
    return words[0], words[1] or words[0]


def _printable(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())


def _matrix(line: str, lines: _Lines, problems: Problems) -> tuple[np.ndarray, int] | None:
    """(ppm, sites) of the matrix under `line`, or None when it has a problem."""
    begin, before = lines.number, len(problems.found)
    known = dict(re.findall(r"(\w+)\s*=\s*(\S+)", line))
    columns, width, sites = (_number(known.get(key), key, begin, problems) for key in ("alength", "w", "nsites"))
    if columns is not None and columns != 4:
        problems.add(f"line {begin}: alength= {columns:g}, expected 4 (A, C, G, T)")
    rows: list[list[float]] = []
    for inner in lines:
        if width is not None and len(rows) == width:
            lines.back()
            break
        if not inner.strip() and not rows:
            continue
        if not re.match(r"\s*[-+.\d]", inner) and not re.match(r"\s*(nan|inf)\b", inner, re.IGNORECASE):
            lines.back()
            break
        rows.append(_row(inner, lines.number, problems))
    if not rows or (width is not None and len(rows) != width):
        expected = f"{width:g}" if width is not None else "some"
        problems.add(f"line {begin}: {expected} rows of probabilities expected, {len(rows)} found")
    if len(problems.found) > before:
        return None
    ppm = np.array(rows)
    return ppm / ppm.sum(axis=1, keepdims=True), max(1, round(sites)) if sites else DEFAULT_SITES


def _number(text: str | None, key: str, line: int, problems: Problems) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
        if not 0 <= value < 1e15:
            raise ValueError
    except ValueError:
        problems.add(f"line {line}: {key}= {text} is not a count")
        return None
    return value


def _row(line: str, number: int, problems: Problems) -> list[float]:
    try:
        values = [float(word) for word in line.split()]
    except ValueError:
        problems.add(f"line {number}: not numbers: {line.strip()[:60]!r}")
        return []
    if len(values) != 4:
        problems.add(f"line {number}: {len(values)} numbers, expected 4 (A, C, G, T)")
    elif not all(0 <= value <= 1 + SUM_TOLERANCE for value in values):
        problems.add(f"line {number}: probabilities between 0 and 1 expected, found {values}")
    elif abs(sum(values) - 1) > SUM_TOLERANCE:
        problems.add(f"line {number}: the row sums to {sum(values):.4g}, expected 1")
    return values


def write_meme(path: Path, motifs: Sequence[Motif], background: np.ndarray) -> None:
    """Write motifs in MEME's minimal format, atomically.

    White space in names becomes "_": the format ends a name there.

    Args:
        path: the file.
        motifs: A, C, G, T probabilities; may be empty.
        background: (4,) letter frequencies.
    """
    frequencies = " ".join(f"{letter} {value:.6f}" for letter, value in zip(LETTERS, background, strict=True))
    lines = [
        "MEME version 4",
        "",
        f"ALPHABET= {LETTERS}",
        "",
        "strands: + -",
        "",
        "Background letter frequencies:",
        frequencies,
    ]
    for motif in motifs:
        words = [_word(text) for text in (motif.identifier, motif.name) if text]
        lines += ["", "MOTIF " + " ".join(words)]
        lines.append(f"letter-probability matrix: alength= 4 w= {motif.width} nsites= {motif.sites} E= 0")
        lines += [" " + " ".join(f"{value:.8f}" for value in row) for row in motif.ppm]
    atomic.write_text(path, "\n".join(lines) + "\n")


def _word(text: str) -> str:
    return _printable(re.sub(r"\s+", "_", text.strip())) or "_"
