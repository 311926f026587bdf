"""evaluate, its second half: called TF pairs against tables of known interactions."""

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from satori_hpc import provenance
from satori_hpc.core import known_pairs, tf_names
from satori_hpc.core.known_pairs import Pairs
from satori_hpc.errors import Problems
from satori_hpc.log import logger, progress
from satori_hpc.run import Run
from satori_hpc.stores import known_layout, known_table, motifs, tables
from satori_hpc.stores.known_table import KnownTable

READINGS = ("direct", "shared")
SHOWN = 10  # names told of a list
NAMES_OF = {  # where names for identifiers are to be had
    "Ensembl proteins": "give a file of two columns, identifier and name, such as STRING's protein.info",
}


@dataclass(frozen=True)
class _Tfs:
    """TFs as tables may know them: every set of names once.

    Attributes:
        names: what each may be called, as compared.
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
    """Read the tables of known interactions; nothing is written.

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
    renamed = known_table.read_names(renaming[0], functools.partial(tf_names.entry, case=case)) if renaming else {}
    who = functools.partial(known_pairs.names_of, renamed=renamed, case=case)
    tfs = _tfs(run, who)
    wanted = set().union(*tfs.names)
    found = {
        name: known_table.read(
            path, who, wanted, columns=columns, organism=settings.known_organism, min_score=settings.known_min_score
        )
        for (name, path), columns in zip(paths.items(), settings.columns, strict=True)
    }
    _must_match(run, tfs, found)
    return KnownTables(tfs=tfs, found=dict(zip(_titles(paths), found.values(), strict=True)), sources=sources)


def compare(run: Run, known: KnownTables) -> dict[str, Any] | None:
    """Compare every method with every table; write interactions/<method>.known.tsv.

    Returns:
        what evaluation.json holds under "known", None without a table.
    """
    for method in run.config.score.methods:
        run.known_pairs(method).unlink(missing_ok=True)
    if not known.found:
        return None
    levels = {method: tables.read_tf(run.interactions(method)) for method in run.config.score.methods}
    rows: dict[str, list[dict[str, object]]] = {method: [] for method in levels}
    content = [_table(run, known.tfs, table, levels, rows, title) for title, table in known.found.items()]
    for method, supported in rows.items():
        known_table.write_pairs(run.known_pairs(method), supported)
    kept = {key: getattr(run.config.evaluate, f"known_{key}") for key in ("composites", "permutations")}
    return {**kept, "tables": content}


def _titles(paths: dict[str, Path]) -> list[str]:
    """What tables are called: their file names, or as run.toml has them where those are not different."""
    short = [path.name for path in paths.values()]
    return short if len(set(short)) == len(short) else list(paths)


def _tfs(run: Run, who: known_table.Who) -> _Tfs:
    tf = motifs.read_tf(run.motifs)
    place: dict[str, int] = {}
    number: dict[frozenset[str], int] = {}
    for name in sorted(set(tf.loc[tf["named"], "tf"])):
        alone = [who((part,)) for part in known_pairs.parts(name, composites=run.config.evaluate.known_composites)]
        place[name] = number.setdefault(frozenset().union(*alone), len(number))
    return _Tfs(list(number), place)


def _must_match(run: Run, tfs: _Tfs, found: dict[str, KnownTable]) -> None:
    """Refuse tables that have nothing to say of this run: their names are of another kind, or of another species.

    Raises:
        InputError: names these tables.
    """
    problems = Problems(f"{run.config_file}: tables of [evaluate] known do not name the TFs of this run:")
    for name, table in found.items():
        if tfs.place and not table.found:
            left = "".join(f"; rows left out: {rows}, {reason}" for reason, rows in table.left_out.items())
            kind = known_layout.kind_of(table.examples)
            problems.add(
                f"{name} ({table.format}) has {', '.join(map(repr, table.examples)) or 'no usable row'}"
                f"{f', {kind}' if kind else ''}{left}; the run has "
                f"{', '.join(map(repr, list(tfs.place)[: known_table.EXAMPLES]))}; "
                f"{NAMES_OF.get(kind, 'give a file of two columns, identifier and name')} (known_names, "
                "--known-names), or the right columns (known_columns, --known-columns), or take it out"
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
    """What a table says of every method; adds to the `rows` of known.tsv."""
    inside = np.array([bool(names & table.found) for names in tfs.names], dtype=bool)
    names = [tfs.names[place] for place in np.flatnonzero(inside)]
    short = np.cumsum(inside) - 1  # place among those of the table
    common = known_pairs.in_common(names, table.partners)
    known = {"direct": known_pairs.listed(names, table.links), "shared": common > 0}
    apart = known_pairs.distinct(names)
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
        **{key: getattr(table, key) for key in ("format", "directed", "rows", "used", "left_out", "genes")},
        "found": there,
        "missing": [name for name, place in tfs.place.items() if not inside[place]],
        "methods": methods,
    }


def _once(first: np.ndarray, second: np.ndarray, called: np.ndarray) -> Pairs:
    """Pairs of different TFs, each once; several names of one TF (FOXP1, FOXP1(var.2)): called when any is."""
    found: dict[tuple[int, int], bool] = {}
    for a, b, flag in zip(first.tolist(), second.tolist(), called.tolist(), strict=True):
        if a != b:
            key = (min(a, b), max(a, b))
            found[key] = found.get(key, False) or flag
    places = np.array(list(found), dtype=np.int64).reshape(-1, 2)
    return Pairs(first=places[:, 0], second=places[:, 1], called=np.array(list(found.values()), dtype=bool))


def _figures(run: Run, pairs: Pairs, known: np.ndarray, apart: np.ndarray, what: str) -> dict[str, Any]:
    draws = range(run.config.evaluate.known_permutations)
    counts = known_pairs.count(pairs, known, apart)
    null = np.array(
        [
            known_pairs.permuted(pairs, known, apart, seed=run.config.seed, draw=draw)
            for draw in progress(draws, what=what, unit="draws")
        ]
    )
    return {
        **dataclasses.asdict(counts),
        **dataclasses.asdict(known_pairs.enrichment(counts)),
        "p_permuted": known_pairs.permutation_p(counts.excess, null),
    }


def _support(table: KnownTable, first: frozenset[str], second: frozenset[str]) -> Iterator[dict[str, object]]:
    """The rows of known.tsv of one called pair: each row that lists it, and the partners in common."""
    found = {row.line: row for a in first for b in second for row in table.links.get((min(a, b), max(a, b)), ())}
    for line in sorted(found):
        yield {"reading": "direct", **dataclasses.asdict(found[line])}
    ours, theirs = (known_pairs.partners_of(names, table.partners) for names in (first, second))
    common = sorted(table.labels[partner] for partner in ours & theirs)
    if common:
        more = ", ..." if len(common) > SHOWN else ""
        said = f"{len(common)} in common: {', '.join(common[:SHOWN])}{more}"
        yield {"reading": "shared", **dict.fromkeys(("line", "name_a", "name_b", "score", "reference"), ""),
               "evidence": said}  # fmt: skip


def summary(known: dict[str, Any]) -> dict[str, Any]:
    """The figures for reading."""
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
    """Figures of a reading in one line."""
    fold = "" if figures["fold"] is None else f", {figures['fold']:.2f} times as many as of all tested"
    return (
        f"{figures['both']} of {figures['called']} called pairs known, {figures['known']} of {figures['tested']} tested"
        f"{fold}; p {figures['p']:.2g}, by permuted names {figures['p_permuted']:.2g}"
    )
