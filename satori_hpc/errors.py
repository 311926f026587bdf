"""Define the errors that users can act on. Any other exception is a bug of ours."""

import shlex
from pathlib import Path


def quoted(name: str | Path) -> str:
    """Quote a path for a command line in a message."""
    return shlex.quote(str(name))


LINE_MAX = 2000  # characters of a line of a message


def shortened(line: str) -> str:
    """Cut the middle out of a line over LINE_MAX characters, because quoted text may have any length."""
    if len(line) <= LINE_MAX:
        return line
    head, tail = 3 * LINE_MAX // 4, LINE_MAX // 4
    return f"{line[:head]} ... [{len(line) - head - tail:,} characters left out] ... {line[-tail:]}"


class SatoriError(Exception):
    """Base of every error that the command line prints without a traceback.

    Attributes:
        shared: every process of the world raises it at the same point, so that none waits for another.
        status: exit status of the command.
    """

    shared = False
    status = 1


def shared(error: SatoriError) -> SatoriError:
    """Mark an error that every process meets at the same point: one of them reports it for all."""
    error.shared = True
    return error


class ConfigError(SatoriError):
    """run.toml cannot be used; the message lists every problem."""


class InputError(SatoriError):
    """A file the user gave is not usable; the message names the file, the row and the fix."""


class ArtefactError(SatoriError):
    """An artefact of the run is missing, unfinished, stale, modified or of another format version."""


class RunLockedError(SatoriError):
    """A run is locked by another process, or by this one already."""


class Preempted(SatoriError):
    """The work was stopped on request and can be resumed by the same command."""

    status = 75  # EX_TEMPFAIL of sysexits.h


class Problems:
    """Collects every problem of a kind, so that the user meets all of them at once.

    At most `shown` are spelled out in the message; the rest are counted. Of MOST nothing more is looked for.
    """

    MOST = 100_000

    def __init__(self, heading: str, error: type[SatoriError] = InputError, *, shown: int = 20) -> None:
        self.heading = heading
        self.error = error
        self.shown = shown
        self.found: list[str] = []

    def add(self, problem: str) -> None:
        """Add a problem.

        Raises:
            `error`: these are MOST, so that a file full of them does not fill memory.
        """
        self.found.append(shortened(problem))
        if len(self.found) >= self.MOST:
            self.raise_any()

    def __bool__(self) -> bool:
        return bool(self.found)

    def raise_any(self) -> None:
        """Raise one error with all problems; do nothing if there are none."""
        if not self.found:
            return
        lines = self.found[: self.shown]
        if len(self.found) > self.shown:
            lines = [*lines, f"... and {len(self.found) - self.shown} more of the same kind"]
        raise self.error(self.heading + "\n" + "\n".join(f"  - {line}" for line in lines))
