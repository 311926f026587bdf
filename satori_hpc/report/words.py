"""The sentences and the key figures at the top of the page."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from satori_hpc.report import known
from satori_hpc.report.data import Facts, Method, ReportData


@dataclass(frozen=True)
class Tile:
    """A figure worth a large type: its value, what it is, and what to compare it with."""

    value: str
    label: str
    note: str


# What tells the classes of a simulated set apart, by its design.
STRANDS = {
    "given": "",
    "random": ", shown on either strand at random",
    "both": ", shown on both strands",
}
NEGATIVES = {
    "hard (uniform)": (
        " The negatives hold as many motifs as the positives, as close together, in other pairs; how common each TF is "
        "differs too, and alone tells much of the class."
    ),
    "hard (matched)": (
        " The negatives hold the same motifs as the positives, as close together, in other pairs: only which motifs "
        "stand together tells them apart."
    ),
}


def _count(number: int, what: str, plural: str = "") -> str:
    return f"{number:,} {what if number == 1 else plural or what + 's'}"


def tiles(data: ReportData) -> list[Tile]:
    """The key figures, those first that the page is about."""
    found = [tile for method in data.methods for tile in _method_tiles(data, method)]
    if data.performance is not None and len(data.performance.usable):
        values = data.performance.auroc[data.performance.usable]
        what = "test AUROC" if len(data.performance.targets) == 1 else f"mean test AUROC of {len(values)} labels"
        found.append(Tile(f"{values.mean():.3f}", what, "0.5 is a coin, 1 is perfect"))
    if data.motifs:
        named = [motif for motif in data.motifs if motif.named]
        tfs = len({motif.tf for motif in named})
        found.append(
            Tile(f"{len(named)} / {len(data.motifs)}", "filters named after a TF", f"{_count(tfs, 'different TF')}")
        )
    return found


def _method_tiles(data: ReportData, method: Method) -> list[Tile]:
    """Two of an only method; one each of several, for which there is a table."""
    called = int(method.tf_pairs["called"].sum())
    tested = f"of {_count(len(method.tf_pairs), 'tested TF pair')}"
    scores = (data.evaluation or {}).get("methods", {}).get(method.name)
    base = data.evaluation["truth"]["base_rate"] if scores else None  # type: ignore[index]
    if len(data.methods) > 1:
        note = f"AUPR {scores['aupr']:.2f}, by chance {base:.2f}" if scores else tested
        return [Tile(f"{called:,}", f"TF pairs called by {method.name}", note)]
    found = [Tile(f"{called:,}", "TF pairs called", tested)]
    if scores:
        found.append(Tile(f"{scores['aupr']:.2f}", "AUPR of the TF pairs", f"by chance {base:.2f}"))
    return found


def warnings(records: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """(stage, sentence) of all that the stages warned of, as their records keep it."""
    return [(record["stage"], sentence) for record in records for sentence in record["summary"].get("warnings", [])]


def lead(data: ReportData) -> list[str]:
    """What was run and what came out, in a few short sentences."""
    said = [] if data.facts is None else [_data_sentence(data.facts), _network_sentence(data.facts)]
    if len(data.methods) > 1:
        said.append(_several_sentence(data))
    else:
        said += [_found_sentence(data, method) for method in data.methods]
    if data.evaluation and data.evaluation.get("truth"):
        if len(data.evaluation["methods"]) > 1:
            said.append(_several_verdict(data.evaluation))
        else:
            said += [verdict(data.evaluation, name) for name in data.evaluation["methods"]]
        said.append(_baseline_sentence(data.evaluation))
        if unmet := data.evaluation["truth"].get("unmet"):
            said.append(unmet)
    return said + known.sentences(data)


def _data_sentence(facts: Facts) -> str:
    what = _count(facts.examples, "simulated sequence" if facts.source == "simulated" else "sequence")
    parts = [f"{what} of {facts.length} bp"]
    if facts.positives is not None:
        parts.append(f"{facts.positives:,} of them positive")
    else:
        parts.append(_count(facts.targets, "label"))
    split = ", ".join(f"{count:,} {name}" for name, count in facts.per_split.items())
    hard = NEGATIVES.get(facts.design or "", "")
    return f"{', '.join(parts)} ({split}).{hard}"


def _network_sentence(facts: Facts) -> str:
    entropy = (
        f", trained with an entropy penalty of {facts.entropy:g}" if facts.entropy else ", without entropy penalty"
    )
    return (
        f"The network is SATORI-{facts.architecture}: {facts.filters} filters of {facts.width} bp, "
        f"{_count(facts.heads, 'attention head')} over positions of {facts.pool} bp{entropy}{STRANDS[facts.strands]}; "
        f"seed {facts.seed}."
    )


def _found_sentence(data: ReportData, method: Method) -> str:
    tested = int(method.filter_pairs["tested"].sum())
    called = int(method.filter_pairs["called"].sum())
    alpha = f" at q ≤ {data.facts.alpha:g}" if data.facts is not None else ""
    tf_called = int(method.tf_pairs["called"].sum())
    scored = data.facts.scored.get(method.name) if data.facts is not None else None
    against = f" in {scored[0]:,} foreground against {scored[1]:,} background examples" if scored else ""
    return (
        f"{method.name.capitalize()} scores: {_count(tested, 'filter pair')} tested{against}, "
        f"{called:,} called{alpha}; "
        f"by name, {_count(tf_called, 'pair')} of two different TFs."
    )


def _several_sentence(data: ReportData) -> str:
    """What each of several methods called; the rest stands in the table below."""
    alpha = f" at q ≤ {data.facts.alpha:g}" if data.facts is not None else ""
    each = ", ".join(f"{method.name} {_count(int(method.tf_pairs['called'].sum()), 'pair')}" for method in data.methods)
    return f"Pairs of two different TFs called{alpha}: {each}."


def _several_verdict(evaluation: dict[str, Any]) -> str:
    """The order of several methods, and which of them are worth their calls."""
    methods, truth, everything = evaluation["methods"], evaluation["truth"], evaluation["call_all"]["f1"]
    ranked = sorted(methods, key=lambda name: -methods[name]["aupr"])
    order = ", ".join(f"{name} {methods[name]['aupr']:.2f}" for name in ranked)
    useful = [name for name in ranked if methods[name]["f1"] > everything + 0.005]
    calls = f"The F1 of {_all_of(useful)} exceeds" if useful else "No method's F1 exceeds"
    return (
        f"AUPR of the ranked TF pairs: {order}; chance {truth['base_rate']:.2f}. {calls} the "
        f"{everything:.2f} that calling every pair reaches."
    )


def _all_of(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def verdict(evaluation: dict[str, Any], name: str) -> str:
    """One sentence on what a method's figures are worth beside what calling every pair reaches."""
    scores, truth = evaluation["methods"][name], evaluation["truth"]
    base, everything = truth["base_rate"], evaluation["call_all"]["f1"]
    ratio = scores["aupr"] / base
    if ratio >= 1.15:
        ranking = (
            f"{name.capitalize()} ranks implanted pairs above chance: AUPR {scores['aupr']:.2f}, chance {base:.2f}"
        )
    elif ratio > 0.95:
        ranking = (
            f"{name.capitalize()} ranks the pairs about as chance would: AUPR {scores['aupr']:.2f}, chance {base:.2f}"
        )
    else:
        ranking = f"{name.capitalize()} ranks the pairs below chance: AUPR {scores['aupr']:.2f}, chance {base:.2f}"
    if scores["nothing_called"]:
        return ranking + ". It calls nothing, so there is no precision to speak of."
    compare = "above" if scores["f1"] > everything + 0.005 else "not above"
    return (
        ranking + f". Its F1 of {scores['f1']:.2f} is {compare} the {everything:.2f} that calling every pair reaches."
    )


def _baseline_sentence(evaluation: dict[str, Any]) -> str:
    scores = evaluation["cooccurrence"]
    return (
        "Without a network, counting how often hits of the pool's own motifs stand together in positives reaches "
        f"AUPR {scores['aupr']:.2f} and F1 {scores['f1']:.2f}."
    )


def median(values: np.ndarray) -> float:
    """Median, NaN when there is none."""
    return float(np.median(values)) if values.size else float("nan")
