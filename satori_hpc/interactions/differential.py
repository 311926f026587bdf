"""Run `differential`: test which labels carry an interaction, from the existing scores."""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from satori_hpc import pairs
from satori_hpc.data.dataset import Dataset
from satori_hpc.data.splits import known
from satori_hpc.errors import InputError, quoted
from satori_hpc.interactions import instances, tables
from satori_hpc.interactions.site_pairs import Units
from satori_hpc.interactions.statistics import differential, mann_whitney, registry
from satori_hpc.interactions.statistics.base import Rules
from satori_hpc.interactions.statistics.differential import Difference
from satori_hpc.log import logger, progress
from satori_hpc.run import execute, lock, pipeline, provenance
from satori_hpc.run.layout import Run
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.store import ScoreStore

HELD = 2**26  # scores in memory at a time


def compare(run: Run, *, labels: tuple[str, ...] = (), against: tuple[str, ...] = ()) -> dict[str, Any]:
    """Write interactions/<method>.differential of every method.

    Args:
        run: of several labels, reduced.
        labels: an example with any of them belongs to the group; none: each label is a separate group.
        against: the comparison group: examples with any of these and none of `labels`, an example with
            both being excluded; none: all examples without.

    Raises:
        ArtefactError: a stage is missing or stale; names the command to run.
        InputError: the set has one label, or not these; or nothing is left on a side.
    """
    with lock.hold(run.path, what=f"satori-hpc differential {quoted(run.path)}"):
        began = time.monotonic()
        inputs = pipeline.require(run, pipeline.BY_NAME["differential"])
        data = Dataset(run.dataset)
        summary = {}
        for method in run.config.score.methods:
            store = score_store.open_complete(run.scores(method))
            rows, members, names = _groups(data, store.examples("foreground"), labels, against)
            columns = _test(run, method, store, rows=rows, members=members, names=names)
            columns["against"] = np.full(len(columns["q"]), ",".join(against), dtype=object)
            run.record("differential").unlink(missing_ok=True)
            write(run.interactions(method), columns)
            if not columns["tested"].any():
                most = np.minimum(columns["n_with"], columns["n_without"]).max(initial=0)
                logger.warning(
                    "%s: nothing is tested: %s",
                    method,
                    f"no called pair has reduce.min_examples = {run.config.reduce.min_examples} scores with a label "
                    f"and without it (the most: {most})"
                    if len(columns["tested"])
                    else "reduce called no pair, and called ones only are compared by label",
                )
            summary[method] = {
                "groups": len(names),
                "tests": int(columns["tested"].sum()),
                "differ": int(columns["differs"].sum()),
            }
        asked = {"--labels": labels, "--against": against}
        arguments = [f"{option}={','.join(names)}" for option, names in asked.items() if names]
        execute.note(run, "differential", inputs=inputs, summary={**summary, "arguments": arguments}, began=began)
    return summary


def _groups(
    data: Dataset, examples: np.ndarray, labels: tuple[str, ...], against: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return foreground rows to compare, bool (rows, groups) membership in each group, and the names of the groups."""
    if data.task != "multilabel":
        raise InputError(
            f"differential compares labels with each other, and this set has one only, {data.targets[0]!r}: its "
            "interactions against the background are what reduce has written; use a set with several labels"
        )
    unknown = [name for name in (*labels, *against) if name not in data.targets]
    if unknown:
        raise InputError(f"no label is named {', '.join(unknown)}; there are {', '.join(data.targets)}")
    if against and not labels:
        raise InputError("--against needs --labels: which labels are compared with these?")
    if set(labels) & set(against):
        raise InputError(f"{', '.join(sorted(set(labels) & set(against)))} cannot be on both sides")
    held, seen = data.labels[examples] == 1, known(data.labels[examples])
    if not labels:
        if not seen.all():
            raise InputError(
                "some labels of this set are not known, so the examples without a label differ from label to label: "
                "name one with --labels"
            )
        return np.arange(len(examples)), held, list(data.targets)
    mine, other = (
        held[:, [data.targets.index(name) for name in names]].any(axis=1) if names else np.ones(len(held), dtype=bool)
        for names in (labels, against)
    )
    columns = [data.targets.index(name) for name in (*labels, *against)]
    told = seen[:, columns].all(axis=1)
    chosen = np.flatnonzero((mine ^ other if against else other) & told)
    sides = mine[chosen]
    if sides.all() or not sides.any():
        unknown_too = (
            f" ({np.sum(~told)} do not count, for these labels are not known of them)" if not told.all() else ""
        )
        raise InputError(
            f"of {len(held)} scored examples {sides.sum()} are on the side of {','.join(labels)} and {np.sum(~sides)} "
            f"on the other{unknown_too}: nothing to compare; name labels that some examples have and others have not"
        )
    return chosen, sides[:, None], [",".join(labels)]


def _test(
    run: Run, method: str, store: ScoreStore, *, rows: np.ndarray, members: np.ndarray, names: list[str]
) -> dict[str, np.ndarray]:
    """Return the columns of the table, save `against`, for every called filter pair; sorted."""
    settings = run.config.reduce
    table = tables.read(run.interactions(method))
    table = table[table["called"].astype(bool)].reset_index(drop=True)
    numbers = pairs.index(
        table["filter_a"].to_numpy(np.int64), table["filter_b"].to_numpy(np.int64), filters=store.motifs
    )
    rules = registry.rules_of(
        store, settings, registry.statistic_of(run.config, method), Units.motifs(store.motifs, settings.combine)
    )
    record = provenance.read(run.record("reduce"))
    cutoff = record.summary[method]["cutoff"] if record is not None and rules.drop_values else None
    floor = -np.inf if cutoff is None else float(cutoff)
    parts: dict[str, list[np.ndarray]] = {field.name: [] for field in dataclasses.fields(Difference)}
    order = np.argsort(numbers, kind="stable")
    most = max(1, HELD // max(len(store.examples("foreground")), 1))
    for first in progress(range(0, len(order), most), what=f"labels, {method}", unit="block"):
        for values in read_columns(store, rules, numbers[order[first : first + most]])[rows].T:
            values = np.where(values < np.float32(floor), np.float32(np.nan), values)
            for name, found in vars(differential.compare(values, members)).items():
                parts[name].append(found)
    shape = (len(order), len(names))
    found = {name: np.array(each).reshape(shape).ravel() for name, each in parts.items()}
    columns: dict[str, np.ndarray] = {
        "label": np.tile(np.array(names, dtype=object), len(order)),
        **{
            name: np.repeat(table[name].to_numpy(object if name[:2] == "tf" else None)[order], len(names))
            for name in ("filter_a", "filter_b", "tf_a", "tf_b")
        },
        **found,
    }
    least = max(1, settings.min_examples)
    tested = (columns["n_with"] >= least) & (columns["n_without"] >= least)
    for name in ("auc", "p", "neg_log10_p"):
        columns[name] = np.where(tested, columns[name], np.nan)
    columns["tested"], columns["q"] = tested, np.full(len(tested), np.nan)
    columns["q"][tested] = mann_whitney.q_values(columns["p"][tested])
    columns["differs"] = tested & (columns["q"] <= settings.alpha)
    rank = np.lexsort((np.arange(len(tested)), -columns["neg_log10_p"], columns["q"]))  # NaN sorts last
    return {name: values[rank] for name, values in columns.items()}


def read_columns(store: ScoreStore, rules: Rules, numbers: np.ndarray) -> np.ndarray:
    """Return foreground scores float32 (examples, n) of some pairs."""
    out = np.full((store.partitions("foreground")[-1][1], len(numbers)), np.nan, dtype=np.float32)
    for start, columns, _, scores in instances.chosen_blocks(store, rules, numbers, "foreground", near=True):
        out[start : start + len(scores), columns] = scores
    return out


# interactions/<method>.differential: which labels carry an interaction.

COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "label": (pa.string(), "the label, or the labels of --labels with commas between"),
    "against": (pa.string(), "the labels of --against; empty = all examples without the label"),
    "filter_a": (pa.int32(), "first filter of the pair, the smaller number"),
    "filter_b": (pa.int32(), "second filter of the pair"),
    "tf_a": (pa.string(), "TF that the first filter's motif matches; empty = none"),
    "tf_b": (pa.string(), "TF that the second filter's motif matches; empty = none"),
    "n_with": (pa.int64(), "foreground examples with the label in which the pair was observed"),
    "n_without": (pa.int64(), "foreground examples that it is compared with, likewise"),
    "tested": (pa.bool_(), "both are at least reduce.min_examples"),
    "median_with": (pa.float64(), "median score of the first"),
    "median_without": (pa.float64(), "median score of the second"),
    "auc": (
        pa.float64(),
        "chance that a score with the label is above one without; 0.5 = no difference. Empty = not tested, like all "
        "that follow",
    ),
    "p": (pa.float64(), "two-sided p-value (Mann-Whitney)"),
    "neg_log10_p": (pa.float64(), "-log10 p, given also where p is too small for a float64"),
    "q": (pa.float64(), "Benjamini-Hochberg q-value over all tested labels and pairs"),
    "differs": (pa.bool_(), "q at most reduce.alpha"),
}


def write(path: Path, columns: Mapping[str, Any]) -> None:
    """Write the table to `path`, which has no suffix."""
    tables.write_table(path.with_name(path.name + ".differential"), columns, COLUMNS)


def read(path: Path) -> pd.DataFrame:
    """Return the table (columns: COLUMNS), by q, then p.

    Raises:
        ArtefactError: missing, damaged or of another format version.
    """
    return tables.read_table(path.with_name(path.name + ".differential"), COLUMNS, command="differential")
