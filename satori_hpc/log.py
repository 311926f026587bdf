"""Logging of the command line, and progress of long work.

A library must not configure handlers: only the command line calls `setup`.
"""

import contextlib
import logging
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

import psutil
from tqdm import tqdm

from satori_hpc.errors import shortened

Item = TypeVar("Item")
logger = logging.getLogger("satori_hpc")

SECONDS_BETWEEN_LINES = 30.0
PASSING = {"passing": True}  # `extra` of a warning for the moment, which the stage's own conclusion replaces
_show_bars: bool | None = None

# Characters that a terminal or text reader may interpret: control characters but tab and newline, those that reorder
# text, line separators, and halves of surrogate pairs.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Escape control characters (ESC becomes \x1b) and shorten lines, see `errors.shortened`.

    Everything that goes to a terminal or a log passes here, for names in messages come from files.
    """
    return "\n".join(_UNSAFE.sub(_escaped, shortened(line)) for line in text.split("\n"))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


class _PrintableFormatter(logging.Formatter):
    """Log lines whose messages and tracebacks are safe to print."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def setup(*, verbose: int = 0, progress: bool | None = None, rank: int = 0, size: int = 1) -> None:
    """Send our log to stderr; `progress` None means a bar on a terminal and log lines elsewhere.

    With several processes every line has its rank, and only rank 0 reports progress, unless `verbose`.
    """
    global _show_bars
    _show_bars = progress if rank == 0 else False
    handler = logging.StreamHandler(sys.stderr)
    who = f" rank {rank}/{size}" if size > 1 else ""
    handler.setFormatter(_PrintableFormatter(f"%(asctime)s{who} %(levelname)s %(message)s", "%H:%M:%S"))
    logger.handlers[:] = [handler]
    quiet = rank > 0 and not verbose
    logger.setLevel(logging.DEBUG if verbose > 1 else logging.WARNING if quiet else logging.INFO)
    logger.propagate = False


@contextlib.contextmanager
def collected() -> Iterator[list[str]]:
    """Collect the warnings that this process logs meanwhile: each sentence once, in order, without PASSING ones."""
    found: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING and not getattr(record, "passing", False):
            text = printable(record.getMessage())
            if text not in found:
                found.append(text)
        return True

    logger.addFilter(keep)  # a handler would keep Python from showing warnings where no handler is set up
    try:
        yield found
    finally:
        logger.removeFilter(keep)


def rss_gib() -> float:
    """Return resident memory of this process, GiB."""
    return float(psutil.Process().memory_info().rss) / 2**30


def progress(items: Iterable[Item], *, what: str, total: int | None = None, unit: str = "it") -> Iterator[Item]:
    """Yield `items`, telling how far the work is: a bar on a terminal, else a line now and then.

    Args:
        items: to be processed.
        what: name of the work.
        total: number of items when `items` has no length.
        unit: name of one item.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    bars = sys.stderr.isatty() if _show_bars is None else _show_bars
    if bars:
        yield from tqdm(items, desc=what, total=total, unit=unit, leave=False)
        return
    began = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            of = f"/{total}" if total else ""
            logger.info("%s: %d%s %s, %.1f %s/s, %.1f GiB", what, done, of, unit, done / (now - began), unit, rss_gib())
