"""Register scoring methods, data sources, ... by name; plug-ins add their own."""

import contextlib
import pkgutil
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from satori_hpc.errors import ConfigError

Entry = TypeVar("Entry")
NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")  # names of entries become keys of run.toml and names of files


class Registry(Mapping[str, Entry]):
    """A table of named entries, in order of registration; plug-ins append theirs.

    An entry is a small record of facts that costs nothing to make. What loads torch or Zarr it names as
    "package.module:attribute", and `load` imports that on first use.

    Args:
        what: it is a registry of, for messages, such as "scoring method".
    """

    _all: ClassVar[list["Registry[Any]"]] = []

    def __init__(self, what: str) -> None:
        self.what = what
        self._entries: dict[str, Entry] = {}
        self._reserved: frozenset[str] = frozenset()
        self._all.append(self)

    def reserve(self, names: Iterable[str]) -> None:
        """Reserve names that have another meaning where entries are named."""
        self._reserved |= frozenset(names) - self._entries.keys()

    def add(self, name: str, entry: Entry) -> Entry:
        """Register an entry.

        Raises:
            ConfigError: the name is taken, or no name that a key of run.toml and a file could have.
        """
        if not NAME.fullmatch(name):
            raise ConfigError(f"{self.what} {name!r}: expected a name of small letters, digits, - and _")
        if name in self._reserved:
            raise ConfigError(f"{self.what} {name!r}: the name means something else in run.toml; choose another one")
        if name in self._entries and self._entries[name] != entry:
            raise ConfigError(f"{self.what} {name!r} is there already; choose another name")
        self._entries[name] = entry
        return entry

    def after(self, *names: str) -> Collection[str]:
        """Return these names and then the registry's, looked up on demand."""
        return _Names(names, self)

    def __getitem__(self, name: str) -> Entry:
        try:
            return self._entries[name]
        except KeyError:
            known = ", ".join(self._entries)
            raise ConfigError(
                f"no {self.what} {name!r}; known: {known}. One of a plug-in needs its module in plugins of run.toml"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class _Names(Collection[str]):
    def __init__(self, first: tuple[str, ...], registry: Registry[Any]) -> None:
        self._first, self._registry = first, registry

    def __contains__(self, name: object) -> bool:
        return name in self._first or name in self._registry

    def __iter__(self) -> Iterator[str]:
        yield from self._first
        yield from self._registry

    def __len__(self) -> int:
        return len(self._first) + len(self._registry)


@contextlib.contextmanager
def all_or_nothing() -> Iterator[None]:
    """Roll back additions to any registry if the block fails."""
    before = [(registry, dict(registry._entries)) for registry in Registry._all]
    try:
        yield
    except BaseException:
        for registry, entries in before:
            registry._entries = entries
        raise


def load(reference: Any) -> Any:
    """Import the object named "package.module:attribute"; return anything else unchanged."""
    return pkgutil.resolve_name(reference) if isinstance(reference, str) else reference


def module_of(reference: Any) -> str:
    """Return the module that defines what `load` returns; import nothing."""
    return reference.partition(":")[0] if isinstance(reference, str) else str(reference.__module__)
