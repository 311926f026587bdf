"""Cooperating transcription factors from attention networks, at cluster scale."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "load_model",
    "open_run",
    "read_interactions",
    "read_scores",
    "score_pairs",
    "test_pairs",
]

if TYPE_CHECKING:
    from satori_hpc.api import load_model, open_run, read_interactions, read_scores, score_pairs, test_pairs


def __getattr__(name: str) -> Any:
    """Load what satori_hpc.api offers on first use: `import satori_hpc` costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from satori_hpc import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
