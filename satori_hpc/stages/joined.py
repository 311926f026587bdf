"""What every world of several processes has, whatever carries its messages."""

from collections.abc import Callable
from typing import Any, TypeVar

from satori_hpc.errors import SatoriError
from satori_hpc.stages import messages
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
        failure: SatoriError | None = None
        value: Any = None
        message = b""
        if self.rank == 0:
            try:
                value = function()
            except SatoriError as error:
                failure = error
            message = messages.encode((value, failure and messages.encode_error(failure)))
        received = self._broadcast(message)
        if self.rank != 0:
            value, words = messages.decode(received)
            failure = words and messages.decode_error(words)
        if failure is not None:
            failure.shared = True
            raise failure
        result: Value = value
        return result

    def gather(self, value: Value) -> list[Value]:
        return [messages.decode(message) for message in self._all_gather(messages.encode(value))]

    def _all_gather(self, message: bytes) -> list[bytes]:
        """The messages of all processes, by rank, on every process."""
        raise NotImplementedError

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
