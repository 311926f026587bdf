"""Statistics that test the scores of a pair: one file per statistic, and their shared mathematics."""

from collections.abc import Callable
from typing import Any, TypeVar

from satori_hpc.config.statistics import STATISTICS, Statistic

Class = TypeVar("Class", bound=type[Any])


def register(name: str, *, call: str, effect: str, short: str) -> Callable[[Class], Class]:
    """Add a statistic by name: decorates its class (statistics.base.Test), in a module that plugins of run.toml names.

    Args:
        name: in reduce.statistic, tables and report.
        call, effect, short: as of config.statistics.Statistic.

    Raises:
        ConfigError: the name is taken.
    """

    def decorate(test: Class) -> Class:
        STATISTICS.add(name, Statistic(test, call=call, effect=effect, short=short))
        return test

    return decorate
