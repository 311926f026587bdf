"""The sentences and the key figures at the top of the page."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from satori_hpc.config.families import FAMILIES
from satori_hpc.config.prepare import SOURCES
from satori_hpc.config.score import METHODS
from satori_hpc.config.statistics import STATISTICS
from satori_hpc.interactions.statistics.mann_whitney import MOST, share_true
from satori_hpc.report.data import Facts, Method, ReportData, Training


@dataclass(frozen=True)
class Tile:
    """A key figure in large type: its value, its label, and a reference value."""

    value: str
    label: str
    note: str


# How the classes of a simulated set differ, by its design.
REVERSE_COMPLEMENT = {
    "none": "",
    "random": ", with random reverse complements",
    "both": ", with both strands of every example",
}
DESIGNS = {
    "hard": (
        " The negatives hold as many motifs as the positives, as close together, in other pairs. TF frequencies "
        "also differ between the classes and alone predict much of the class."
    ),
    "hard-matched": (
        " The negatives hold the same motifs as the positives, as close together, in other pairs: the classes "
        "differ only in which motifs occur together."
    ),
    "grammar": (
        " Single TFs raise the probability of being positive, and so do close true pairs; decoys occur together "
        "more often but are additive."
    ),
    "additive": " Single TFs raise the probability of being positive; no pair interacts, though some often co-occur.",
    "one-motif": " A single TF makes a sequence positive; no pair interacts, though some often occur together.",
    "arrange": (
        " All sequences hold true pairs: close together in positives, further apart in negatives. Distances of "
        "decoys do not differ."
    ),
    "one-pair": " Positives hold both TFs of the one true pair, at any distance, negatives one of them.",
}


def _count(number: int, what: str, plural: str = "") -> str:
    return f"{number:,} {what if number == 1 else plural or what + 's'}"


def tiles(data: ReportData) -> list[Tile]:
    """Return the key figures, the most important first."""
    found = [tile for method in data.methods for tile in _method_tiles(data, method)]
    if data.performance is not None and len(data.performance.usable):
        values = data.performance.auroc[data.performance.usable]
        what = "test AUROC" if len(data.performance.targets) == 1 else f"mean test AUROC of {len(values)} labels"
        found.append(Tile(f"{values.mean():.3f}", what, "0.5 is chance, 1 is perfect"))
    if data.motifs:
        named = [motif for motif in data.motifs if motif.named]
        tfs = len({motif.tf for motif in named})
        found.append(
            Tile(f"{len(named)} / {len(data.motifs)}", "filters named after a TF", f"{_count(tfs, 'different TF')}")
        )
    return found


def _method_tiles(data: ReportData, method: Method) -> list[Tile]:
    """Return two tiles for a single method; one each for several, which have a table."""
    called = int(method.tf_pairs["called"].sum())
    tested = f"of {_count(len(method.tf_pairs), 'tested TF pair')}"
    scores = (data.evaluation or {}).get("methods", {}).get(method.name)
    if scores and scores["aupr"] is None:
        scores = None
    base = data.evaluation["truth"]["base_rate"] if scores else None  # type: ignore[index]
    if len(data.methods) > 1:
        note = f"AUPR {scores['aupr']:.2f}, by chance {base:.2f}" if scores else tested
        return [Tile(f"{called:,}", f"TF pairs called by {method.name}", note)]
    found = [Tile(f"{called:,}", "TF pairs called", tested)]
    if scores:
        found.append(Tile(f"{scores['aupr']:.2f}", "AUPR of the TF pairs", f"by chance {base:.2f}"))
    return found


def warnings(records: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return (stage, sentence) of all warnings in the records of the stages."""
    return [(record["stage"], sentence) for record in records for sentence in record["summary"].get("warnings", [])]


def lead(data: ReportData) -> list[str]:
    """Summarise the run and its results in a few short sentences."""
    said = [] if data.facts is None else [_data_sentence(data.facts), _network_sentence(data.facts)]
    if data.training is not None and data.training.baselines:
        said.append(_baselines_sentence(data.training))
    if len(data.methods) > 1:
        said.append(_several_sentence(data))
    else:
        said += [_found_sentence(data, method) for method in data.methods]
    if data.evaluation and data.evaluation.get("truth") and not data.evaluation["truth"]["pairs"]:
        said.append(_nothing_true_sentence(data.evaluation))
    elif data.evaluation and data.evaluation.get("truth"):
        if len(data.evaluation["methods"]) > 1:
            said.append(_several_verdict(data.evaluation))
        else:
            said += [verdict(data.evaluation, name) for name in data.evaluation["methods"]]
        said.append(_baseline_sentence(data.evaluation))
        if unmet := data.evaluation["truth"].get("unmet"):
            said.append(unmet)
    return said + sentences(data)


def _data_sentence(facts: Facts) -> str:
    what = _count(facts.examples, SOURCES[facts.source].noun)
    parts = [f"{what} of {facts.length} bp"]
    if facts.positives is not None:
        parts.append(f"{facts.positives:,} of them positive")
    else:
        parts.append(_count(facts.targets, "label"))
    split = ", ".join(f"{count:,} {name}" for name, count in facts.per_split.items())
    hard = DESIGNS.get(facts.design or "", "")
    return f"{', '.join(parts)} ({split}).{hard}"


def _network_sentence(facts: Facts) -> str:
    entropy = (
        f", trained with an entropy penalty of {facts.entropy:g}" if facts.entropy else ", without entropy penalty"
    )
    filters = "known motifs of up to" if facts.known_motifs else "filters of"
    parts = [f"{facts.filters} {filters} {facts.width} bp"] if facts.filters else []
    parts += (
        [f"{_count(facts.heads, 'attention head')} over positions of {facts.pool} bp{entropy}"] if facts.heads else []
    )
    made_of = f": {', '.join(parts)}" if parts else ""
    return (
        "The network is "
        f"{FAMILIES[facts.architecture].sentence}{made_of}{REVERSE_COMPLEMENT[facts.reverse_complement]}; seed "
        f"{facts.seed}."
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


def _baselines_sentence(training: Training) -> str:
    best = float(training.values[training.best])
    found = [
        f"{'below' if best < value else 'above'} that on {name} ({value:.3f})"
        for name, value in training.baselines.items()
    ]
    return (
        f"The network's validation {training.metric} is {best:.3f}: of logistic regressions, which need no network, "
        f"{' and '.join(found)}."
    )


def _several_sentence(data: ReportData) -> str:
    """List the calls of each of several methods; the rest is in the table below."""
    alpha = f" at q ≤ {data.facts.alpha:g}" if data.facts is not None else ""
    each = ", ".join(f"{method.name} {_count(int(method.tf_pairs['called'].sum()), 'pair')}" for method in data.methods)
    return f"Pairs of two different TFs called{alpha}: {each}."


def _nothing_true_sentence(evaluation: dict[str, Any]) -> str:
    called = ", ".join(f"{name} {scores['called']}" for name, scores in evaluation["methods"].items())
    return f"No pair interacts in this set, so every call is false; called: {called}."


def _several_verdict(evaluation: dict[str, Any]) -> str:
    """Rank several methods, and name those whose calls are informative."""
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
    """Compare the figures of a method with those of calling every pair, in one sentence."""
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
        return ranking + ". It calls nothing, so its precision is undefined."
    compare = "above" if scores["f1"] > everything + 0.005 else "not above"
    return (
        ranking + f". Its F1 of {scores['f1']:.2f} is {compare} the {everything:.2f} that calling every pair reaches."
    )


def _baseline_sentence(evaluation: dict[str, Any]) -> str:
    scores = evaluation["cooccurrence"]
    return (
        "Without a network, counting how often hits of the panel's own motifs co-occur in positives reaches "
        f"AUPR {scores['aupr']:.2f} and F1 {scores['f1']:.2f}."
    )


def median(values: np.ndarray) -> float:
    """Return the median, NaN if empty."""
    return float(np.median(values)) if values.size else float("nan")


# The methods in words and in comparison: score, test, agreement.

MOST_SHARED = 20  # TF pairs listed that every method calls

ESTIMATES = {
    "steps": "twice the steps change attributions by {} %",
    "completeness": "the attributions of a sequence miss their expected sum by {} %",
    "letters": "redrawing the random bases of the mutations changes scores by {} % (standard error)",
}


def explanation(method: Method) -> str:
    """Explain the score and the meaning of a call, for readers without the documentation."""
    return (
        f"The score of two filters in a sequence is {METHODS[method.name].sentence}. The pair is called when "
        f"{STATISTICS[method.statistic].call}. For a pair of TFs the sites of all filters that are named after them "
        f"are pooled in every sequence before the test.{calibration(method)}"
    )


def calibration(method: Method) -> str:
    """State the share of the null among the tested pairs of TFs, or of filters where no two TFs are tested."""
    tested = (
        method.tf_pairs if len(method.tf_pairs) else method.filter_pairs[method.filter_pairs["tested"].astype(bool)]
    )
    share = share_true(tested["p"].to_numpy(np.float64))
    if share is None:
        return ""
    said = f" By their p-values about {100 * (1 - share):.0f} % of the {len(tested):,} tested pairs do not interact"
    if share > MOST:
        said += "; that most would is rare, so the test may see what single motifs do"
    return f"{said}."


def accuracy(method: Method) -> str:
    """State the estimated errors of the scores, if the method estimates them."""
    said = [ESTIMATES.get(name, f"{name}: {{}} %").format(f"{100 * v:.2g}") for name, v in method.estimate.items()]
    return f"On a few examples: {'; '.join(said)}." if said else ""


@dataclass(frozen=True)
class MethodLine:
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


def lines(data: ReportData) -> list[MethodLine]:
    """Return one line per method, in their order."""
    known = (data.evaluation or {}).get("methods", {})
    return [
        MethodLine(
            name=method.name,
            statistic=STATISTICS[method.statistic].short,
            tested=int(method.filter_pairs["tested"].sum()),
            called_filter_pairs=int(method.filter_pairs["called"].sum()),
            called=int(method.tf_pairs["called"].sum()),
            scores=known.get(method.name),
        )
        for method in data.methods
    ]


def agreement(methods: list[Method]) -> Agreement | None:
    """Compare the calls of the methods; None for fewer than two."""
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
    """Return the called TF pairs, in the order of the table."""
    rows = method.tf_pairs[method.tf_pairs["called"].astype(bool)]
    return dict.fromkeys(zip(rows["tf_a"], rows["tf_b"], strict=True))


# Called TF pairs against tables of known interactions: the figures of evaluation.json in words.

MOST_NAMES = 60  # TFs listed that a table does not know
READINGS = {"direct": "listed as partners", "shared": "a common partner"}
TARGETS = {"direct": "one regulates the other", "shared": "a common target"}


@dataclass(frozen=True)
class KnownLine:
    """The figures of a method in one reading; known and tested are of the pairs whose two TFs are in the table."""

    method: str
    reading: str
    called: str
    known: str
    precision: str
    base_rate: str
    fold: str
    odds: str
    p: str
    p_permuted: str


@dataclass(frozen=True)
class Part:
    """Page content of one table."""

    title: str
    note: str
    lines: list[KnownLine]


def parts(data: ReportData) -> list[Part]:
    """Return the content for each table of known interactions."""
    known = (data.evaluation or {}).get("known")
    return [] if not known else [_part(table) for table in known["tables"]]


def _part(table: dict[str, Any]) -> Part:
    words = TARGETS if table["directed"] else READINGS
    lines = [
        _line(method, words[reading], figures[reading])
        for method, figures in table["methods"].items()
        for reading in READINGS
    ]
    return Part(title=f"{table['table']} ({table['format']})", note=_note(table), lines=lines)


def _note(table: dict[str, Any]) -> str:
    found, missing = table["found"], table["missing"]
    left = "".join(f"; {rows:,} excluded: {reason}" for reason, rows in table["excluded_records"].items())
    said = (
        f"{table['used']:,} of {table['rows']:,} rows used{left}. {table['genes']:,} genes, among them "
        f"{len(found):,} of the {len(found) + len(missing):,} TFs that name a filter."
    )
    if missing:
        more = f" and {len(missing) - MOST_NAMES:,} more" if len(missing) > MOST_NAMES else ""
        said += f" Not in the table: {', '.join(missing[:MOST_NAMES])}{more}."
    return said


def _line(method: str, reading: str, figures: dict[str, Any]) -> KnownLine:
    return KnownLine(
        method=method,
        reading=reading,
        called=f"{figures['both']:,} of {figures['called']:,}",
        known=f"{figures['known']:,} of {figures['tested']:,}",
        precision=f"{figures['precision']:.3f}" if figures["called"] else "–",
        base_rate=f"{figures['base_rate']:.3f}",
        fold=_number(figures["fold"]),
        odds=_odds(figures),
        p=f"{figures['p']:.2g}",
        p_permuted=f"{figures['p_permuted']:.2g}",
    )


def _odds(figures: dict[str, Any]) -> str:
    if figures["odds_low"] is None:
        return "–"
    ratio = "∞" if figures["odds_ratio"] is None else _number(figures["odds_ratio"])
    return f"{ratio} ({_number(figures['odds_low'])} to {_number(figures['odds_high']) or '∞'})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def sentences(data: ReportData) -> list[str]:
    """Summarise what is known of the called pairs, by table and method, for the opening."""
    said = []
    for table in ((data.evaluation or {}).get("known") or {"tables": []})["tables"]:
        for method, figures in table["methods"].items():
            direct = figures["direct"]
            if direct["called"]:
                said.append(
                    f"{table['table']} lists {direct['both']:,} of the {direct['called']:,} pairs called by {method} "
                    f"whose TFs it names, and {direct['known']:,} of all {direct['tested']:,} tested ones (permuted "
                    f"names: p = {direct['p_permuted']:.2g})."
                )
    return said
