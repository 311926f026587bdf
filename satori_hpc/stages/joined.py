"""What every world of several processes has, whatever carries its messages."""

from collections.abc import Callable

from satori_hpc.world import World


class Joined(World):
    """A process among several.

    Attributes:
        current: what this process works on, in words.
    """

    current = ""
    _tell: Callable[[str], None] | None = None

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
