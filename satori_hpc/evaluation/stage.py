"""Run `evaluate`: compare called TF pairs with baselines, implanted pairs and known interactions."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from satori_hpc.data.dataset import Dataset
from satori_hpc.data.sources.simulate import truth
from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.evaluation import calls, cooccurrence, yardsticks
from satori_hpc.evaluation import known as evaluation_known
from satori_hpc.evaluation.cooccurrence import Hits
from satori_hpc.evaluation.known import KnownTables
from satori_hpc.evaluation.yardsticks import Yardsticks
from satori_hpc.interactions import tables
from satori_hpc.interactions.statistics.registry import statistic_of
from satori_hpc.log import logger
from satori_hpc.motifs import families
from satori_hpc.motifs import names as tf_names
from satori_hpc.motifs.motif import Motif
from satori_hpc.motifs.scan import Gate, MotifBank
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import sealed
from satori_hpc.run.layout import Run
from satori_hpc.sites import store as motif_store

FORMAT_VERSION = 6
HIT_P = 1e-4  # of a motif hit of the baseline; of a motif too short for it, the best word
NO_TRUTH = "no known pairs: the sequences come from files, and only simulated sets have a truth"
NO_TABLE = "; compare with a table of known interactions: satori-hpc set RUN evaluate.known=TABLE"


def check(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Check the tables of known interactions, before the existing evaluation is removed.

    Raises:
        InputError: a table cannot be used.
    """
    return {"given": evaluation_known.read(run)}


def evaluate(run: Run, runtime: Runtime, *, given: KnownTables | None = None) -> dict[str, Any]:
    """Compare every scored method with yardsticks, implanted pairs and tables; write evaluation.json.

    Runs without a truth get a file that says so, and the yardsticks.

    Args:
        run: up to its reduction.
        runtime: devices, threads, memory.
        given: the tables of known interactions, as `check` read them; None = read them.

    Raises:
        InputError: a table of known interactions cannot be used; the existing evaluation is kept.
    """
    given = given or evaluation_known.read(run)
    run.evaluation.unlink(missing_ok=True)
    known = evaluation_known.compare(run, given)
    without = yardsticks.measure(run, runtime)
    if run.truth.exists():
        content = _compare(run, without)
        summary = _summary(content)
    else:
        reason = NO_TRUTH + ("" if known else NO_TABLE)
        content = {"format_version": FORMAT_VERSION, "truth": None, "reason": reason}
        content["yardsticks"] = _yardsticks(run, without)
        summary = {"truth": reason, **_yardstick_lines(content["yardsticks"])}
    _write(run, {**content, "known": known})
    if known:
        summary |= {**evaluation_known.summary(known), "sources": given.sources}
    return summary


def _write(run: Run, content: dict[str, Any]) -> None:
    sealed.write_json(run.evaluation, content, allow_nan=False)


def read(run: Run) -> dict[str, Any]:
    """Return the content of evaluation.json.

    Raises:
        ArtefactError: missing, damaged or of another format version.
    """
    mend = f"make it: satori-hpc evaluate {quoted(run.path)} --force"
    try:
        return sealed.read_json(run.evaluation, version=FORMAT_VERSION, mend=mend)
    except FileNotFoundError:
        raise ArtefactError(f"{run.evaluation}: missing; {mend}") from None


def _compare(run: Run, without: Yardsticks) -> dict[str, Any]:
    unit_of = families.namer(run.config.reduce.level)
    gold, decoys = (
        [(unit_of(a), unit_of(b)) for a, b in truth.read_pairs(run.truth, role)] for role in ("true", "decoy")
    )
    decoys = [pair for pair in decoys if calls.key(*pair) not in calls.keys(gold)]  # of families that have both
    pool = truth.read_pool(run.truth)
    names = [unit_of(motif.name) for motif in pool]
    tf = motif_store.read_tf(run.motifs)
    named = sorted({unit_of(name) for name in tf.loc[tf["named"], "tf"]})
    judge = _Judge(gold, decoys, names)
    everything = judge.calls(calls.pairs_of(names))
    inside = {tf_names.compared(name) for name in names}
    found = inside & {tf_names.compared(name) for name in named}
    unmet = _unmet(named, names) if named and not found else None
    if unmet:
        logger.warning("%s", unmet)
    return {
        "format_version": FORMAT_VERSION,
        "truth": {
            "tfs": len(inside),
            "pairs": len(calls.keys(gold)),
            "decoys": len(calls.keys(decoys)),
            "possible_pairs": everything["called"],
            "base_rate": everything["precision"],
            "named_tfs": len(found),
            "recall_ceiling": calls.recall_ceiling(gold, named=named) if gold else None,
            "unmet": unmet,
        },
        "call_all": everything,
        "methods": {
            method: {
                "statistic": statistic_of(run.config, method),
                **_method(tables.read_tf(run.interactions(method)), judge),
            }
            for method in run.config.score.methods
        },
        "cooccurrence": _cooccurrence(run, pool, names, judge),
        "yardsticks": _yardsticks(run, without, judge),
    }


def _unmet(named: list[str], pool: list[str]) -> str:
    """Explain why nothing can be found: no filter is named after a TF of the panel."""
    ours, theirs = (", ".join(repr(name[:60]) for name in sorted(names)[:3]) for names in (named, pool))
    return (
        f"No filter is named after an implanted TF, so no implanted pair can be found (recall ceiling 0). Filters are "
        f"named {ours}, implanted are {theirs}: either the motifs of [motifs] database have names of another kind, or "
        f"the network has not learned the implanted motifs."
    )


def _method(table: pd.DataFrame, judge: "_Judge") -> dict[str, Any]:
    """Score the calls by q-value and the rankings by q (then p and AUC) and by effect size."""
    rows = list(zip(table["tf_a"], table["tf_b"], strict=True))
    column = {name: table[name].to_numpy(dtype=np.float64) for name in ("q", "neg_log10_p", "auc", "effect")}
    # Many q-values are 0 with thousands of sequences; logarithms of p still rank them.
    scores = calls.ranks(-column["q"], column["neg_log10_p"], column["auc"])
    called = [row for row, flag in zip(rows, table["called"], strict=True) if flag]
    return {
        **judge.scores(called, rows, scores),
        "aupr_effect": judge.average_precision(rows, calls.ranks(column["effect"])),
    }


@dataclass(frozen=True)
class _Judge:
    """Scores of calls and rankings against the truth; where no pair interacts most of them are None.

    Attributes:
        gold, decoys: pairs of TFs by role.
        pool: the implanted TFs.
    """

    gold: list[tuple[str, str]]
    decoys: list[tuple[str, str]]
    pool: list[str]

    def calls(self, called: list[tuple[str, str]]) -> dict[str, Any]:
        if not self.gold:
            return dataclasses.asdict(calls.all_false(called, pool=self.pool, decoys=self.decoys))
        return dataclasses.asdict(calls.calls(called, self.gold, pool=self.pool, decoys=self.decoys))

    def average_precision(self, rows: list[tuple[str, str]], scores: np.ndarray) -> float | None:
        if not self.gold:
            return None
        labels = calls.pool_labels(self.gold, pool=self.pool)
        return calls.average_precision(labels, calls.pool_scores(rows, scores, pool=self.pool))

    def scores(self, called: list[tuple[str, str]], rows: list[tuple[str, str]], scores: np.ndarray) -> dict[str, Any]:
        """Score `called` pairs, and `rows` ranked by `scores` in descending order."""
        curve: dict[str, list[float]] = {"recall": [], "precision": []}
        if self.gold:
            labels = calls.pool_labels(self.gold, pool=self.pool)
            precision, recall = calls.precision_recall(labels, calls.pool_scores(rows, scores, pool=self.pool))
            curve = {"recall": recall.tolist(), "precision": precision.tolist()}
        return {**self.calls(called), "aupr": self.average_precision(rows, scores), "curve": curve}


def _yardsticks(run: Run, found: Yardsticks, judge: _Judge | None = None) -> dict[str, Any]:
    """Return the calls of the tests without a network, and the overlap with each method."""
    alpha = run.config.reduce.alpha
    by_method = {method: _called(tables.read_tf(run.interactions(method))) for method in run.config.score.methods}
    lines = []
    for (test, reach), tested in found.tests.items():
        rows = [(found.tfs[a], found.tfs[b]) for a, b in zip(tested.first, tested.second, strict=True)]
        order = np.argsort(-tested.neg_log10_p, kind="stable")
        called = [rows[k] for k in order if tested.q[k] <= alpha]
        keys = calls.keys(called)
        line = {
            "test": test,
            "range_bp": reach,
            "tested": len(rows),
            "called": len(keys),
            "pairs": called,
            "methods": {method: sorted(keys & calls.keys(theirs)) for method, theirs in by_method.items()},
        }
        if judge is not None:
            line["scores"] = judge.scores(called, rows, calls.ranks(tested.neg_log10_p))
        lines.append(line)
    about = {key: getattr(found, key) for key in ("sequences", "labelled", "labels", "collection")}
    return {**about, "tfs": len(found.tfs), "hits_per_sequence": found.hits, "tests": lines}


def _called(table: pd.DataFrame) -> list[tuple[str, str]]:
    chosen = table[table["called"].astype(bool)]
    return list(zip(chosen["tf_a"], chosen["tf_b"], strict=True))


def _cooccurrence(run: Run, pool: list[Motif], names: list[str], judge: _Judge) -> dict[str, Any]:
    """Run the baseline on all positives of the scored split; unlike the methods it is given the panel's motifs.

    Args:
        run: with a truth.
        pool: the implanted motifs. names: the TF or family of each.
        judge: of the calls.
    """
    data = Dataset(run.dataset)
    rows = data.rows(run.config.score.split)
    tokens = data.tokens[rows[data.labels[rows, 0] == 1]]
    options = run.config.evaluate
    hits = MotifBank.from_motifs(pool).scan(tokens, Gate(share=0, p=HIT_P))
    tfs, tf = np.unique(names, return_inverse=True)
    found = cooccurrence.measure(
        Hits(example=hits.example, tf=tf[hits.motif], start=hits.start, end=hits.end),
        examples=len(tokens),
        length=data.length,
        tfs=len(tfs),
        max_gap=options.cooccurrence_range,
    )
    pairs = [(tfs[a], tfs[b]) for a, b in zip(found.tf_a, found.tf_b, strict=True)]
    # Pairs without any evidence share the last rank, as those do that a method could not test.
    known = np.flatnonzero(~np.isnan(found.z))
    ranked = [pairs[i] for i in known]
    scores = calls.ranks(found.z[known])
    called = [pairs[i] for i in np.flatnonzero((found.q <= run.config.reduce.alpha) & (found.z > 0))]
    return {
        **judge.scores(called, ranked, scores),
        "sequences": len(tokens),
        "range_bp": options.cooccurrence_range,
        "hit_p": HIT_P,
    }


def _summary(content: dict[str, Any]) -> dict[str, Any]:
    """Tabulate the figures, rounded."""
    known = content["truth"]
    lines: dict[str, Any] = {
        "implanted": f"{known['pairs']} of {known['possible_pairs']} pairs of {known['tfs']} TFs",
        "base rate": round(known["base_rate"], 3),
        **({"recall ceiling": round(known["recall_ceiling"], 3)} if known["pairs"] else {}),
        **({"names": known["unmet"]} if known["unmet"] else {}),
    }
    for name, scores in {**content["methods"], "co-occurrence": content["cooccurrence"]}.items():
        lines[name] = figures(scores)
        if scores["aupr"] is not None:
            lines[name] += f", AUPR {scores['aupr']:.3f}"
        if "statistic" in scores:
            effect = "" if scores["aupr"] is None else f"; by effect {scores['aupr_effect']:.3f}"
            lines[name] += f" ({scores['statistic']}{effect})"
    lines["every pair called"] = figures(content["call_all"])
    return lines | _yardstick_lines(content["yardsticks"])


def _yardstick_lines(content: dict[str, Any]) -> dict[str, str]:
    lines = {}
    for line in content["tests"]:
        said = f"{line['called']} of {line['tested']} pairs called"
        if content["sequences"] < content["labelled"]:
            said += f" in {content['sequences']:,} of {content['labelled']:,} sequences, drawn at random"
        if "scores" in line:
            said += f"; {figures(line['scores'])}"
        lines[f"{line['test']}, {line['range_bp']} bp"] = said
    return lines


def figures(scores: dict[str, Any]) -> str:
    """Format an `evaluation.calls.Calls` as one line."""
    if scores["nothing_called"]:
        return "nothing called"
    if scores["f1"] is None:
        return f"{scores['called']} called, all false"
    return (
        f"{scores['called']} called, precision {scores['precision']:.3f}, recall {scores['recall']:.3f}, "
        f"F1 {scores['f1']:.3f}"
    )
