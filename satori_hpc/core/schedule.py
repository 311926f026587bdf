"""Learning rate and entropy weight as plain functions of the step, so that a resumed run needs no state for them."""

import math

RISE = 0.3
START = 1 / 25
END = 1 / 25e4


def learning_rate(kind: str, step: int, *, steps: int, peak: float) -> float:
    """The learning rate of one step.

    Args:
        kind: "constant", or "onecycle": from peak / 25 up by a cosine over the first 30 % of the steps, then down to
            peak / 250 000 (Smith & Topin 2019).
        step: 0 .. steps - 1.
        steps: of the whole training, were it never stopped early.
        peak: the largest learning rate.
    """
    if kind == "constant":
        return peak
    summit = RISE * max(steps - 1, 1)
    if step < summit:
        return _cosine(peak * START, peak, step / summit)
    return _cosine(peak, peak * END, min((step - summit) / max(steps - 1 - summit, 1e-9), 1.0))


def entropy_weight(weight: float, step: int, *, steps: int, warmup: float) -> float:
    """The weight of the entropy loss: rises linearly from 0 over the share `warmup` of all steps, then stays."""
    rise = warmup * steps
    return weight if step >= rise else weight * step / rise


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
