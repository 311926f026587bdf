"""From a network to the scores of all pairs of sites in every example: methods, plan and store."""

from collections.abc import Callable
from typing import Any, TypeVar

from satori_hpc.config import Config, toml
from satori_hpc.config.score import METHODS, Method, Score
from satori_hpc.errors import ConfigError

Scorer = TypeVar("Scorer", bound=Callable[..., Any])


def register(
    name: str,
    *,
    sentence: str,
    settings: type | None = None,
    follows: tuple[str, ...] = (),
    statistic: str = "published",
    permutes: bool = False,
    pairs: Callable[..., Any] | None = None,
    picture: Any = None,
    given: Callable[..., Any] | None = None,
) -> Callable[[Scorer], Scorer]:
    """Register a scoring method by name: decorates the factory of its SiteScorer (scoring.base), in a plug-in module.

    Args:
        name: in score.methods, tables and report.
        sentence, follows, statistic, permutes, pairs, picture, given: as of config.score.Method.
        settings: dataclass of its table [score.<name>], whose fields are `config.option`s; None: it has none.

    Raises:
        ConfigError: the name is taken, `settings` is none of that kind, `follows` names no key of [score], or there is
            no such statistic.
    """
    if settings is not None:
        toml.check_table(settings, f"settings of the scoring method {name!r}")
    unknown = [key for key in follows if key not in {**toml.fields(Score), "seed": None}]
    if unknown:
        raise ConfigError(f"scoring method {name!r}: follows {', '.join(unknown)}; expected keys of [score], or seed")
    wrong = toml.complaint(Config, "reduce.statistic", statistic)
    if wrong or statistic == "auto":
        raise ConfigError(f"scoring method {name!r}: statistic = {statistic!r}; {wrong or 'expected one by name'}")

    def decorate(scorer: Scorer) -> Scorer:
        METHODS.add(
            name,
            Method(
                scorer=scorer,
                sentence=sentence,
                settings=settings,
                follows=follows,
                statistic=statistic,
                permutes=permutes,
                pairs=pairs,
                picture=picture,
                given=given,
            ),
        )
        return scorer

    return decorate
