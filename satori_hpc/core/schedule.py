"""Learning rate and entropy weight as plain functions of the step, so that a resumed run needs no state for them."""

import math

RISE = 0.3
START = 1 / 25
END = 1 / 25e4


def learning_rate(kind: str, step: int, *, steps: int, peak: float, warmup: float = 0.0) -> float:
    """The learning rate of one step.

    Args:
        kind: "constant"; "cosine" or "linear": from peak down to 0, which the step after the last would reach; or
            "onecycle": from peak / 25 up by a cosine over the first 30 % of the steps, then down to peak / 250 000
            (Smith & Topin 2019).
        step: 0 .. steps - 1.
        steps: of the whole training, were it never stopped early.
        peak: the largest learning rate.
        warmup: share of the steps over which the rate rises linearly to the peak first; not for "onecycle".
    """
    if kind == "onecycle":
        summit = RISE * max(steps - 1, 1)
        if step < summit:
            return _cosine(peak * START, peak, step / summit)
        return _cosine(peak, peak * END, min((step - summit) / max(steps - 1 - summit, 1e-9), 1.0))
    rise = round(warmup * steps)
    if step < rise:
        return peak * (step + 1) / (rise + 1)
    if kind == "constant":
        return peak
    done = (step - rise) / max(steps - rise, 1)
    return _cosine(peak, 0.0, done) if kind == "cosine" else peak * (1 - done)


def entropy_weight(weight: float, step: int, *, steps: int, warmup: float) -> float:
    """The weight of the entropy loss: rises linearly from 0 over the share `warmup` of all steps, then stays."""
    rise = warmup * steps
    return weight if step >= rise else weight * step / rise


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
