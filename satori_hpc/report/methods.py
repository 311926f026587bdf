"""The methods in words, and side by side: what each one's score is, what it is compared with, where methods agree."""

from dataclasses import dataclass
from typing import Any

from satori_hpc.report.data import Method, ReportData

MOST_SHARED = 20  # TF pairs listed that every method calls

# What the score of a pair of filters in a sequence is, by method.
SCORES = {
    "attention": "the largest attention, of any head and in either direction, between sites of the two filters",
    "attribution": "what the attention between sites of the two filters adds to the "
    "prediction (integrated gradients over attention), the largest of any head and in either direction",
    "dfim": "how much the attribution of one filter's site changes when the other's is "
    "mutated, the larger of both directions",
    "epistasis": "what two sites add to the prediction together beyond what each adds "
    "alone, by mutating either and both; below 0, one makes up for the other",
}

# What these scores are compared with, by statistic: what a call says, and how the table names it.
CALLS = {
    "background": "called when it scores higher in the foreground than in the background (one-sided Mann-Whitney test)",
    "within-sequence": "called when it scores higher than the other pairs of the same sequences do (one-sided "
    "signed-rank test)",
    "null": "called when it scores higher than in the same sequences with their letters permuted (one-sided test)",
}
POOLED = "when all its filter pairs together say so (Simes' p-values, corrected for the number of TF pairs)"
EFFECTS = {
    "background": "AUC: chance that a foreground score exceeds a background score",
    "within-sequence": "AUC: chance that the mean of two contrasts to the other pairs is positive",
    "null": "AUC: chance that a score exceeds one of permuted letters",
}
ESTIMATES = {
    "steps": "twice the steps change attributions by {} %",
    "completeness": "the attributions of a sequence miss what they should add up to by {} %",
    "letters": "drawing the letters of the mutations again changes scores by {} % (standard error)",
}
SHORT = {"background": "against background", "within-sequence": "within sequences", "null": "against permuted letters"}


def explanation(method: Method) -> str:
    """What a score is and what a call means, for people who have not read the documentation."""
    return (
        f"The score of two filters in a sequence is {SCORES[method.name]}. The pair is {CALLS[method.statistic]}; a TF "
        f"pair, {'when any of its filter pairs is' if method.statistic == 'background' else POOLED}."
    )


def accuracy(method: Method) -> str:
    """How far scores are off, where the method tells; else nothing."""
    said = [ESTIMATES.get(name, f"{name}: {{}} %").format(f"{100 * v:.2g}") for name, v in method.estimate.items()]
    return f"On a few examples: {'; '.join(said)}." if said else ""


@dataclass(frozen=True)
class Line:
    """A method's line of the comparison; scores as in evaluation.json, None without a truth."""

    name: str
    statistic: str
    tested: int
    called_filter_pairs: int
    called: int
    scores: dict[str, Any] | None


@dataclass(frozen=True)
class Agreement:
    """Called TF pairs that methods share.

    Attributes:
        names: of the methods.
        shared: (count, Jaccard index or None where neither calls any) of every two methods.
        everywhere: TF pairs that every method calls, in words.
        total: how many these are.
    """

    names: list[str]
    shared: list[list[tuple[int, float | None]]]
    everywhere: list[str]
    total: int


def lines(data: ReportData) -> list[Line]:
    """One line per method, in their order."""
    known = (data.evaluation or {}).get("methods", {})
    return [
        Line(
            name=method.name,
            statistic=SHORT[method.statistic],
            tested=int(method.filter_pairs["tested"].sum()),
            called_filter_pairs=int(method.filter_pairs["called"].sum()),
            called=int(method.tf_pairs["called"].sum()),
            scores=known.get(method.name),
        )
        for method in data.methods
    ]


def agreement(methods: list[Method]) -> Agreement | None:
    """What the methods call alike; None of fewer than two."""
    if len(methods) < 2:
        return None
    called = [_called(method) for method in methods]
    everywhere = [pair for pair in called[0] if all(pair in other for other in called[1:])]
    shared = []
    for first in called:
        row: list[tuple[int, float | None]] = []
        for second in called:
            both, either = len(first.keys() & second.keys()), len(first.keys() | second.keys())
            row.append((both, both / either if either else None))
        shared.append(row)
    return Agreement(
        names=[method.name for method in methods],
        shared=shared,
        everywhere=[f"{a} – {b}" for a, b in everywhere[:MOST_SHARED]],
        total=len(everywhere),
    )


def _called(method: Method) -> dict[tuple[str, str], None]:
    """The called TF pairs, in the order of the table."""
    rows = method.tf_pairs[method.tf_pairs["called"].astype(bool)]
    return dict.fromkeys(zip(rows["tf_a"], rows["tf_b"], strict=True))
