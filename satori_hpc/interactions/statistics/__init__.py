"""What the scores of a pair are compared with: a file per statistic, and the mathematics that they share."""

from collections.abc import Callable
from typing import Any, TypeVar

from satori_hpc.config.statistics import STATISTICS, Statistic

Class = TypeVar("Class", bound=type[Any])


def register(name: str, *, call: str, effect: str, short: str) -> Callable[[Class], Class]:
    """Add a statistic by name: decorates its class (statistics.base.Test), in a module that plugins of run.toml names.

    Args:
        name: in reduce.statistic, --statistic, tables and report.
        call, effect, short: as of config.statistics.Statistic.

    Raises:
        ConfigError: the name is taken.
    """

    def decorate(test: Class) -> Class:
        STATISTICS.add(name, Statistic(test, call=call, effect=effect, short=short))
        return test

    return decorate
