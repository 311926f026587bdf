"""What every world of several processes has, whatever carries its messages."""

import pickle
from collections.abc import Callable
from typing import TypeVar

from satori_hpc.errors import SatoriError
from satori_hpc.world import World

Value = TypeVar("Value")


class Joined(World):
    """A process among several.

    Attributes:
        current: what this process works on, in words.
    """

    current = ""
    _tell: Callable[[str], None] | None = None

    def lead(self, function: Callable[[], Value]) -> Value:
        outcome: tuple[Value | None, SatoriError | None] = (None, None)
        if self.rank == 0:
            try:
                outcome = (function(), None)
            except SatoriError as error:
                outcome = (None, error)
        received = self._broadcast(pickle.dumps(outcome) if self.rank == 0 else b"")
        if self.rank != 0:
            outcome = pickle.loads(received)
        value, failure = outcome
        if failure is not None:
            failure.shared = True
            raise failure
        return value  # type: ignore[return-value]  # None only if the function returned it

    def _broadcast(self, payload: bytes) -> bytes:
        """The leader's bytes, on every process."""
        raise NotImplementedError

    def doing(self, what: str) -> None:
        self.current = what
        if self._tell is not None:
            self._tell(what)

    def listen(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called with what this process works on, from now on."""
        self._tell = tell

    def close(self) -> None:
        """Wait for the others at the end of the common work, and leave."""
        raise NotImplementedError

    def abort(self, status: int) -> None:
        """End all processes of the job now; may return when the library cannot."""
        raise NotImplementedError

    def explains(self, error: BaseException) -> bool:
        """Whether this error only tells that another process has ended, which has said why by itself."""
        return False
