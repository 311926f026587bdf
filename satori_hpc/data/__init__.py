"""The data set: sequences, labels and splits, and the stage that makes them from a source."""

from collections.abc import Callable
from typing import Any, TypeVar

from satori_hpc.config import toml
from satori_hpc.config.prepare import PARTS, SOURCES, DataSource
from satori_hpc.errors import ConfigError

Make = TypeVar("Make", bound=Callable[..., Any])


def register(
    name: str,
    *,
    sentence: str,
    settings: type | None = None,
    files: tuple[str, ...] = (),
    noun: str = "sequence",
    parts: str = "never",
    together: bool = False,
) -> Callable[[Make], Make]:
    """Add a source of sequences by name: decorates make(run, runtime) -> Source, in a module that plugins names.

    Args:
        name: in prepare.source and new --template.
        sentence, files, noun, parts, together: as of config.prepare.DataSource.
        settings: dataclass of its table [prepare.<name>], whose fields are `config.option`s; None: it has none.

    Raises:
        ConfigError: the name is taken, `settings` is none of that kind, one of `files` is no key of it, or `parts` is
            none of these.
    """
    if settings is not None:
        toml.check_table(settings, f"settings of the data source {name!r}")
    unknown = [key for key in files if settings is None or key not in toml.fields(settings)]
    if unknown:
        raise ConfigError(f"data source {name!r}: files {', '.join(unknown)}; expected keys of its settings")
    if parts not in PARTS:
        raise ConfigError(f"data source {name!r}: parts = {parts!r}; expected one of {', '.join(PARTS)}")

    def decorate(make: Make) -> Make:
        SOURCES.add(
            name,
            DataSource(
                make=make,
                sentence=sentence,
                settings=settings,
                files=files,
                noun=noun,
                parts=parts,
                together=together,
            ),
        )
        return make

    return decorate
