"""evaluate, its second half: called TF pairs against tables of known interactions."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from satori_hpc.errors import Problems
from satori_hpc.evaluation import known_tables
from satori_hpc.evaluation.known_tables import KnownTable
from satori_hpc.interactions import tables
from satori_hpc.log import logger, progress
from satori_hpc.motifs import names as tf_names
from satori_hpc.motifs.names import COMPOSITE
from satori_hpc.run import provenance
from satori_hpc.run.layout import Run
from satori_hpc.sites import store as motif_store

# Called TF pairs against known interactions: how many are known, how many more than among all tested pairs, and how
# often as many would be if the TFs had each other's names.
#
# SATORI 2.0 (lqaf209) compares with HIPPIE, SATORI 1 with TRRUST as well; there a pair counts as supported when its TFs
# have a partner or target in common. Both readings are offered here: listed as partners, and a partner in common.

NAMES = 0x4E414D  # key of the random permutations
TOLERANCE = 1e-12  # shares that differ by less are equal


def names_of(identifiers: Iterable[str], renamed: Mapping[str, frozenset[str]], *, case: bool) -> frozenset[str]:
    """Return all normalised names of a gene with these identifiers.

    Motif names are replaced by their TFs (`tf_names.entry`), in lower case unless `case`. If `renamed` has none of
    the identifiers, an entry name of UniProt ("GATA1_HUMAN") also matches the part before the underscore.

    Args:
        identifiers: such as an Entrez number and a symbol.
        renamed: {identifier, as compared: names, as compared}.
        case: upper and lower case differ.
    """
    found = {tf_names.entry(text, case=case) for text in identifiers} - {""}
    more = set().union(*(renamed.get(name, frozenset()) for name in found))
    return frozenset(found | (more or {tf_names.compared(name, case=case) for name in found}))


def parts(name: str, *, composites: str) -> list[str]:
    """Return the TFs that a motif name stands for: GATA1::TAL1 for both of its TFs, and for itself.

    Args:
        name: of a motif.
        composites: "parts", or "literal": for itself alone.
    """
    return list(dict.fromkeys([name, *name.split(COMPOSITE)])) if composites == "parts" else [name]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Tested pairs of TFs.

    Attributes:
        first, second: int64 (P,), places in a list of n TFs.
        called: bool (P,).
    """

    first: np.ndarray
    second: np.ndarray
    called: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Pairs of two distinct TFs: tested ones, called ones among them, known ones among them, and both."""

    tested: int
    called: int
    known: int
    both: int

    @property
    def excess(self) -> float:
        """Share of known pairs among called ones minus that among tested ones; 0 if nothing is called."""
        return self.both / self.called - self.known / self.tested if self.called else 0.0


@dataclass(frozen=True, kw_only=True)
class Enrichment:
    """Whether called pairs are known more often than tested ones.

    Attributes:
        precision: both / called; 0 where nothing is called.
        base_rate: known / tested; 0 where nothing is tested.
        fold: precision / base_rate; None where that is 0.
        odds_ratio: known to unknown among called pairs over the same among the others (conditional maximum likelihood).
        odds_low, odds_high: its exact 95 % confidence interval; None = not defined, or without bound.
        p: Fisher's exact test, one-sided: at least so many known pairs among as many drawn from the tested ones.
    """

    precision: float
    base_rate: float
    fold: float | None
    odds_ratio: float | None
    odds_low: float | None
    odds_high: float | None
    p: float


def distinct(tfs: Sequence[frozenset[str]]) -> np.ndarray:
    """Return bool (n, n): TFs without a common name.

    GATA1::TAL1 and TAL1 have, so they are no pair of two TFs.
    """
    places = _incidence(tfs)
    return np.asarray((places @ places.T).toarray() == 0)


def listed(tfs: Sequence[frozenset[str]], links: Iterable[tuple[str, str]]) -> np.ndarray:
    """Return bool (n, n), symmetric: some name of the one is listed with some name of the other."""
    owners: dict[str, list[int]] = {}
    for place, names in enumerate(tfs):
        for name in names:
            owners.setdefault(name, []).append(place)
    known = np.zeros((len(tfs), len(tfs)), dtype=bool)
    for a, b in links:
        for u in owners.get(a, ()):
            known[u, owners.get(b, [])] = True
    return known | known.T


def in_common(tfs: Sequence[frozenset[str]], partners: Mapping[str, set[str]]) -> np.ndarray:
    """Return int64 (n, n): number of common partners of two TFs, other than themselves.

    All names of a TF are taken together: TAL1, a partner of GATA1 and of LMO2, is a third to these two, but not to
    GATA1::TAL1 and LMO2.
    """
    places = _incidence([partners_of(names, partners) for names in tfs])
    return np.asarray((places @ places.T).toarray(), dtype=np.int64)


def partners_of(names: frozenset[str], partners: Mapping[str, set[str]]) -> frozenset[str]:
    """Return the partners of a TF of these names, without itself."""
    return frozenset().union(*(partners.get(name, ()) for name in names)) - names


def _incidence(sets: Sequence[frozenset[str]]) -> sparse.csr_array:
    """Return (n, items), 1 where a set contains an item."""
    number: dict[str, int] = {}
    rows = [row for row, items in enumerate(sets) for _ in items]
    columns = [number.setdefault(item, len(number)) for items in sets for item in items]
    return sparse.csr_array((np.ones(len(rows), np.int64), (rows, columns)), shape=(len(sets), len(number)))


def count(pairs: Pairs, known: np.ndarray, distinct: np.ndarray, order: np.ndarray | None = None) -> Counts:
    """Count tested, called and known pairs.

    Args:
        pairs: the tested ones.
        known, distinct: bool (n, n), symmetric.
        order: int64 (n,): TF i bears the names of TF order[i]; None = its own.
    """
    a, b = (pairs.first, pairs.second) if order is None else (order[pairs.first], order[pairs.second])
    two = distinct[a, b]
    hit = two & known[a, b]
    return Counts(
        tested=int(two.sum()), called=int((two & pairs.called).sum()), known=int(hit.sum()),
        both=int((hit & pairs.called).sum()),
    )  # fmt: skip


def enrichment(counts: Counts) -> Enrichment:
    """Run Fisher's exact test of called against other tested pairs.

    It takes pairs to be independent of each other.
    """
    from scipy import stats  # here: slow to load, and reports do without

    called, known, both, tested = counts.called, counts.known, counts.both, counts.tested
    precision = both / called if called else 0.0
    base_rate = known / tested if tested else 0.0
    odds: tuple[float | None, ...] = (None, None, None)
    if 0 < called < tested and 0 < known < tested:
        found = stats.contingency.odds_ratio([[both, called - both], [known - both, tested - called - known + both]])
        bounds = found.confidence_interval(0.95)
        odds = tuple(_finite(value) for value in (found.statistic, bounds.low, bounds.high))
    return Enrichment(
        precision=precision,
        base_rate=base_rate,
        fold=precision / base_rate if base_rate else None,
        odds_ratio=odds[0],
        odds_low=odds[1],
        odds_high=odds[2],
        p=min(1.0, float(stats.hypergeom.sf(both - 1, tested, known, called))),
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def permuted(pairs: Pairs, known: np.ndarray, distinct: np.ndarray, *, seed: int, draw: int) -> float:
    """Return `Counts.excess` with permuted TF names; the structure of the calls stays the same.

    Which TFs are hubs, in the calls and in the table, thus stays too: unlike Fisher's test this one does not take the
    pairs of a hub to be independent. Keyed by seed and number of the draw.
    """
    order = np.random.default_rng([seed, NAMES, draw]).permutation(len(known))
    return count(pairs, known, distinct, order).excess


def permutation_p(observed: float, null: np.ndarray) -> float:
    """Return (1 + draws that reach the observed value) / (1 + draws)."""
    return float((1 + np.count_nonzero(null >= observed - TOLERANCE)) / (1 + len(null)))


READINGS = ("direct", "shared")
SHOWN = 10  # names shown of a list
NAMES_OF = {  # where names for identifiers are to be had
    "Ensembl proteins": "give a file of two columns, identifier and name, such as STRING's protein.info",
}


@dataclass(frozen=True)
class _Tfs:
    """TFs as tables may know them: every set of names once.

    Attributes:
        names: normalised names of each.
        place: {name of a filter's TF: its place there}.
    """

    names: list[frozenset[str]]
    place: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class KnownTables:
    """The tables of known interactions of a run.

    Attributes:
        tfs: of the run.
        found: {title: table}.
        sources: {file of the user: SHA-256}.
    """

    tfs: _Tfs
    found: dict[str, KnownTable]
    sources: dict[str, str]


def read(run: Run) -> KnownTables:
    """Read the tables of known interactions; write nothing.

    Raises:
        InputError: a table is not there or cannot be used, or has none of the run's names.
    """
    settings = run.config.evaluate
    if not settings.known:
        return KnownTables(tfs=_Tfs([], {}), found={}, sources={})
    paths = {name: run.resolve(name) for name in settings.known}
    renaming = [run.resolve(settings.known_names)] if settings.known_names else []
    missing = Problems(f"{run.config_file}: files of [evaluate] are not there:")
    for path in [path for path in (*paths.values(), *renaming) if not path.is_file()]:
        missing.add(f"{path}: correct known or known_names")
    missing.raise_any()
    sources = {str(path): provenance.file_digest(path) for path in (*paths.values(), *renaming)}
    case = settings.known_case
    renamed = known_tables.read_names(renaming[0], functools.partial(tf_names.entry, case=case)) if renaming else {}
    who = functools.partial(names_of, renamed=renamed, case=case)
    tfs = _tfs(run, who)
    wanted = set().union(*tfs.names)
    found = {
        name: known_tables.read(
            path, who, wanted, columns=columns, organism=settings.known_organism, min_score=settings.known_min_score
        )
        for (name, path), columns in zip(paths.items(), settings.columns, strict=True)
    }
    _must_match(run, tfs, found)
    return KnownTables(tfs=tfs, found=dict(zip(_titles(paths), found.values(), strict=True)), sources=sources)


def compare(run: Run, known: KnownTables) -> dict[str, Any] | None:
    """Compare every method with every table; write interactions/<method>.known.tsv.

    Returns:
        the content of evaluation.json under "known", None without a table.
    """
    for method in run.config.score.methods:
        run.known_pairs(method).unlink(missing_ok=True)
    if not known.found:
        return None
    levels = {method: tables.read_tf(run.interactions(method)) for method in run.config.score.methods}
    rows: dict[str, list[dict[str, object]]] = {method: [] for method in levels}
    content = [_table(run, known.tfs, table, levels, rows, title) for title, table in known.found.items()]
    for method, supported in rows.items():
        known_tables.write_pairs(run.known_pairs(method), supported)
    kept = {key: getattr(run.config.evaluate, f"known_{key}") for key in ("composites", "permutations")}
    return {**kept, "tables": content}


def _titles(paths: dict[str, Path]) -> list[str]:
    """Return the titles of tables: their file names, or their paths in run.toml if file names are not unique."""
    short = [path.name for path in paths.values()]
    return short if len(set(short)) == len(short) else list(paths)


def _tfs(run: Run, who: known_tables.Who) -> _Tfs:
    tf = motif_store.read_tf(run.motifs)
    place: dict[str, int] = {}
    number: dict[frozenset[str], int] = {}
    for name in sorted(set(tf.loc[tf["named"], "tf"])):
        alone = [who((part,)) for part in parts(name, composites=run.config.evaluate.known_composites)]
        place[name] = number.setdefault(frozenset().union(*alone), len(number))
    return _Tfs(list(number), place)


def _must_match(run: Run, tfs: _Tfs, found: dict[str, KnownTable]) -> None:
    """Refuse tables that match no name of this run: their names are of another kind, or of another species.

    Raises:
        InputError: names these tables.
    """
    problems = Problems(f"{run.config_file}: tables of [evaluate] known do not name the TFs of this run:")
    for name, table in found.items():
        if tfs.place and not table.found:
            left = "".join(f"; rows left out: {rows}, {reason}" for reason, rows in table.excluded_records.items())
            kind = known_tables.kind_of(table.examples)
            problems.add(
                f"{name} ({table.format}) has {', '.join(map(repr, table.examples)) or 'no usable row'}"
                f"{f', {kind}' if kind else ''}{left}; the run has "
                f"{', '.join(map(repr, list(tfs.place)[: known_tables.EXAMPLES]))}; "
                f"{NAMES_OF.get(kind, 'give a file of two columns, identifier and name')} (known_names), "
                "or the right columns (known_columns), or take it out"
            )
    problems.raise_any()


def _table(
    run: Run,
    tfs: _Tfs,
    table: KnownTable,
    levels: dict[str, pd.DataFrame],
    rows: dict[str, list[dict[str, object]]],
    title: str,
) -> dict[str, Any]:
    """Compare a table with every method; append to the `rows` of known.tsv."""
    inside = np.array([bool(names & table.found) for names in tfs.names], dtype=bool)
    names = [tfs.names[place] for place in np.flatnonzero(inside)]
    short = np.cumsum(inside) - 1  # place among those of the table
    common = in_common(names, table.partners)
    known = {"direct": listed(names, table.links), "shared": common > 0}
    apart = distinct(names)
    methods: dict[str, Any] = {}
    for method, level in levels.items():
        places = np.array([[tfs.place[tf] for tf in level[side]] for side in ("tf_a", "tf_b")], dtype=np.int64)
        called = level["called"].to_numpy(dtype=bool)
        judged = inside[places[0]] & inside[places[1]] if len(level) else np.zeros(0, dtype=bool)
        pairs = _once(short[places[0][judged]], short[places[1][judged]], called[judged])
        methods[method] = {
            "not_in_table": int((~judged).sum()),
            "not_in_table_called": int((~judged & called).sum()),
            **{
                reading: _figures(run, pairs, known[reading], apart, f"{title}, {method}, {reading}")
                for reading in READINGS
            },
        }
        for row in level[judged & called].to_dict("records"):
            u, v = (short[tfs.place[row[side]]] for side in ("tf_a", "tf_b"))
            if apart[u, v]:
                pair = {"table": title, "tf_a": row["tf_a"], "tf_b": row["tf_b"], "q": row["q"]}
                rows[method] += [{**pair, **support} for support in _support(table, names[u], names[v])]
    there = [name for name, place in tfs.place.items() if inside[place]]
    logger.info("%s (%s): names %d of the run's %d TFs", title, table.format, len(there), len(tfs.place))
    return {
        "table": title,
        **{key: getattr(table, key) for key in ("format", "directed", "rows", "used", "excluded_records", "genes")},
        "found": there,
        "missing": [name for name, place in tfs.place.items() if not inside[place]],
        "methods": methods,
    }


def _once(first: np.ndarray, second: np.ndarray, called: np.ndarray) -> Pairs:
    """Return pairs of different TFs, each once; several names of one TF (FOXP1, FOXP1(var.2)): called when any is."""
    found: dict[tuple[int, int], bool] = {}
    for a, b, flag in zip(first.tolist(), second.tolist(), called.tolist(), strict=True):
        if a != b:
            key = (min(a, b), max(a, b))
            found[key] = found.get(key, False) or flag
    places = np.array(list(found), dtype=np.int64).reshape(-1, 2)
    return Pairs(first=places[:, 0], second=places[:, 1], called=np.array(list(found.values()), dtype=bool))


def _figures(run: Run, pairs: Pairs, known: np.ndarray, apart: np.ndarray, what: str) -> dict[str, Any]:
    draws = range(run.config.evaluate.known_permutations)
    counts = count(pairs, known, apart)
    null = np.array(
        [
            permuted(pairs, known, apart, seed=run.config.seed, draw=draw)
            for draw in progress(draws, what=what, unit="draws")
        ]
    )
    return {
        **dataclasses.asdict(counts),
        **dataclasses.asdict(enrichment(counts)),
        "p_permuted": permutation_p(counts.excess, null),
    }


def _support(table: KnownTable, first: frozenset[str], second: frozenset[str]) -> Iterator[dict[str, object]]:
    """Return the rows of known.tsv of one called pair: each row that lists it, and the common partners."""
    found = {row.line: row for a in first for b in second for row in table.links.get((min(a, b), max(a, b)), ())}
    for line in sorted(found):
        yield {"reading": "direct", **dataclasses.asdict(found[line])}
    ours, theirs = (partners_of(names, table.partners) for names in (first, second))
    common = sorted(table.labels[partner] for partner in ours & theirs)
    if common:
        more = ", ..." if len(common) > SHOWN else ""
        said = f"{len(common)} in common: {', '.join(common[:SHOWN])}{more}"
        yield {"reading": "shared", **dict.fromkeys(("line", "name_a", "name_b", "score", "reference"), ""),
               "evidence": said}  # fmt: skip


def summary(known: dict[str, Any]) -> dict[str, Any]:
    """Format the figures."""
    lines: dict[str, Any] = {}
    for number, table in enumerate(known["tables"], start=1):
        there = f"{len(table['found'])} of {len(table['found']) + len(table['missing'])}"
        inner = {"file": f"{table['table']} ({table['format']}, {table['used']} rows)", "TFs in it": there}
        for method, figures in table["methods"].items():
            for reading in READINGS:
                inner[f"{method}, {reading}"] = said(figures[reading])
        lines[f"known interactions {number}"] = inner
    return lines


def said(figures: dict[str, Any]) -> str:
    """Format the figures of a reading as one line."""
    fold = "" if figures["fold"] is None else f", {figures['fold']:.2f} times as many as of all tested"
    return (
        f"{figures['both']} of {figures['called']} called pairs known, {figures['known']} of {figures['tested']} tested"
        f"{fold}; p {figures['p']:.2g}, by permuted names {figures['p_permuted']:.2g}"
    )
