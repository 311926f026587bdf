"""Run `motifs`: convert the filters of the trained network to motifs and TF names.

Two passes over the sequences: the first finds each filter's maximum, which sets its threshold; the second counts the
letters under its sites.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from satori_hpc import config as config_module
from satori_hpc.data.dataset import Dataset, blocks
from satori_hpc.errors import ConfigError, SatoriError
from satori_hpc.log import logger, progress
from satori_hpc.models.base import require_filters
from satori_hpc.motifs import configured, motif, tomtom
from satori_hpc.motifs import names as tf_names
from satori_hpc.motifs.collection import Collection
from satori_hpc.motifs.motif import Motif
from satori_hpc.motifs.scan import MotifBank
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import files
from satori_hpc.run.layout import Run
from satori_hpc.sites import activations as sites_activations
from satori_hpc.sites import known_motifs, listed
from satori_hpc.sites import store as motif_store
from satori_hpc.sites.activations import Extremes, SiteCounts
from satori_hpc.sites.given import ScannedSites
from satori_hpc.sites.layers import Layer, layer_of
from satori_hpc.sites.store import MotifTables
from satori_hpc.training import checkpoint, predictions

PSEUDOCOUNT = 1.0  # added to every count of a column
FEW_SEQUENCES = 50  # with fewer a column's probabilities are off by up to sqrt(.25 / 50) = .07 (standard error)


def motifs(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Write motifs/ of a run: the known motifs that its network starts from, and its learned filters.

    Raises:
        InputError: the database of known motifs cannot be used.
        SatoriError: no sequence qualifies.
    """
    data = Dataset(run.dataset)
    if run.config.sites.source != "network":
        return _of_source(run, data, runtime)
    model, _ = checkpoint.load(run.best, runtime.torch_device())
    layer = layer_of(model)
    if layer is None and model.bank is None:
        require_filters(model)
    database = None if layer is None else configured.for_names(run)
    rows = _rows(run, data)
    _tell_few(run, data, rows)
    files.remove_folder(run.motifs)

    known = None if model.bank is None else known_motifs.tables(model, data, rows, runtime)
    found = known
    if layer is not None and database is not None:
        learned = _of_filters(run, layer, data, rows, database, runtime)
        found = learned if known is None else known.then(learned)
    assert found is not None
    return _write(run, found, rows)


def _of_source(run: Run, data: Dataset, runtime: Runtime) -> dict[str, Any]:
    """Write motifs/ of a run whose sites come from a scan or a file."""
    config = run.config.sites
    if config.source == "scan":
        database = configured.for_names(run)
        training = data.take(data.rows("train")).tokens
        letters = sum(
            (np.bincount(training[some].ravel(), minlength=5) for some in blocks(training.shape[0])), np.ones(5)
        )
        bank = MotifBank.from_motifs(database.motifs, background=letters[:4] / letters[:4].sum())
        scanned, rows = ScannedSites(bank, max_p=config.max_p), _rows(run, data)
        found = known_motifs.of_scan(bank, scanned.gate, data, rows, runtime)
        files.remove_folder(run.motifs)
        summary = _write(run, found, rows, scan=scanned.to_plain())
        return {**summary, "database": database.title, "database digest": database.digest, "sources": database.sources}
    key = f"{run.config_file}: [sites] file"
    if data.task == "multilabel":
        raise ConfigError(
            f"{key}: the background of a set with several labels is shuffled controls, in which no file lists sites; "
            "expected source = 'scan' or 'network'"
        )
    found_sites = listed.read(run.resolve(config.file), data, key=key)
    rows = _rows(run, data)
    found = known_motifs.of_list(found_sites, data, rows, runtime)
    files.remove_folder(run.motifs)
    return {
        **_write(run, found, rows, sites=vars(found_sites.table)),
        "sites in the file": found_sites.lines,
        "sites outside of the examples": found_sites.outside,
        "sites that overlap a stronger one": found_sites.lost,
        "sources": found_sites.sources,
    }


def _write(run: Run, found: MotifTables, rows: np.ndarray, **source: Any) -> dict[str, Any]:
    """Write motifs/, with the source of sites as of sites.store.write; return the stage's summary."""
    # A base that never occurs would make the background useless for others: one count is added to each.
    background = motif.probabilities(found.letters[:4], 1.0)
    motif_store.write(
        run.motifs,
        motifs=found.motifs,
        background=background,
        filters=found.filters,
        tf=found.tf,
        known=found.known,
        **source,
    )
    names = {tf for tf, named in zip(found.tf["tf"], found.tf["named"], strict=True) if named}
    if not names:
        logger.warning("no filter could be named after a known motif; no TF pair will come out of this run")
    return {"sequences": len(rows), **found.summary, "TFs": len(names)}


def _of_filters(
    run: Run, layer: Layer, data: Dataset, rows: np.ndarray, database: Collection, runtime: Runtime
) -> MotifTables:
    """Return motifs of learned filters, and the known motifs that they are named after."""
    config, device = run.config.motifs, runtime.torch_device()
    without_tf = [item for item in database.motifs if not tf_names.tf_name(item.name, item.identifier)]
    _tell_names(database, without_tf)
    extremes, letters = Extremes(layer.filters), np.zeros(5, dtype=np.int64)
    for batch, activations in _activations(layer, data, rows, runtime, what="thresholds"):
        extremes.add(layer.strongest(activations))
        letters += np.bincount(batch.ravel(), minlength=5)
    threshold = sites_activations.thresholds(
        extremes.maximum, extremes.mean, share=config.threshold, rule=config.threshold_rule
    )
    counts = SiteCounts.empty(layer.filters, layer.width)
    threshold_there = torch.from_numpy(threshold).to(device)
    for batch, activations in _activations(layer, data, rows, runtime, what="sites"):
        layer.count(counts, batch, activations, threshold_there)

    written = np.flatnonzero(counts.sites >= config.min_sites)
    found = [
        Motif(
            name=f"filter{number}",
            ppm=motif.probabilities(counts.letters[number], PSEUDOCOUNT),
            sites=int(counts.sites[number]),
        )
        for number in written
    ]
    tf, known = _tf_columns(run, written, found, database, runtime)
    named = np.asarray(tf["named"], dtype=bool)
    if len(rows) >= FEW_SEQUENCES:
        _tell_rare(counts, written[named])
    return MotifTables(
        motifs=found,
        letters=letters,
        filters=_filter_columns(extremes.maximum, threshold, counts, written, found),
        tf=tf,
        known=known,
        summary={
            "filters": layer.filters,
            "filters with sites": int((counts.sites > 0).sum()),
            "filters with a motif": len(found),
            "filters with a TF": int(named.sum()),
            "database": database.title,
            "database motifs": len(database.motifs),
            "database motifs without a TF name": len(without_tf),
            "database digest": database.digest,
            "sources": database.sources,
        },
    )


def _tell_few(run: Run, data: Dataset, rows: np.ndarray) -> None:
    """Warn of motifs from few sequences."""
    config = run.config.motifs
    if len(rows) < FEW_SEQUENCES:
        logger.warning(
            "motifs are made from %d sequences, fewer than %d: their columns, and so the names of filters, are "
            "uncertain. They are those of [motifs] split = %r%s: take a larger split, or more data",
            len(rows),
            FEW_SEQUENCES,
            config.split,
            f", positive and predicted above min_probability = {config.min_probability:g}"
            if data.task == "binary"
            else "",
        )


def _tell_rare(counts: SiteCounts, named: np.ndarray) -> None:
    """Warn of named filters with sites in few sequences."""
    rare = [(number, int(counts.sequences[number])) for number in named if counts.sequences[number] < FEW_SEQUENCES]
    if rare:
        logger.warning(
            "%d of %d named filters have sites in fewer than %d sequences, so their names are uncertain (%s%s); a "
            "lower [motifs] threshold, a larger split or more data give more sites",
            len(rare),
            len(named),
            FEW_SEQUENCES,
            ", ".join(f"filter {number}: {sequences}" for number, sequences in rare[:5]),
            ", ..." if len(rare) > 5 else "",
        )


def _tell_names(database: Collection, without_tf: list[Motif]) -> None:
    """Warn of names that cannot be compared with those of TFs."""
    if 2 * len(without_tf) > len(database.motifs):
        logger.warning(
            "%s: %d of %d motifs have names that tell no TF (%s); they stay what they are, so pairs are of motifs, and "
            "with TFs they are compared only by a file of motif and TF name (evaluate.known_names)",
            database.title, len(without_tf), len(database.motifs), _some([item.name for item in without_tf]),
        )  # fmt: skip
    names = [tf_names.tf_name(item.name, item.identifier) for item in database.motifs]
    entries = [name for name in names if tf_names.is_entry(name)]
    if 2 * len(entries) > len(names):
        logger.warning(
            "%s: names of UniProt's entries (%s) are compared by what stands before the underscore, which is not "
            "always the symbol of the gene (P53_HUMAN is TP53); a file of entry and symbol: evaluate.known_names",
            database.title, _some(entries),
        )  # fmt: skip


def _some(names: list[str]) -> str:
    return ", ".join(repr(name[:60]) for name in names[:3]) + (", ..." if len(names) > 3 else "")


def _rows(run: Run, data: Dataset) -> np.ndarray:
    """Return the examples whose sites define the motifs: of the split, and for binary sets confident positives."""
    config = run.config.motifs
    rows = data.rows(config.split)
    if data.task == "multilabel":
        if not len(rows):
            raise SatoriError(f"the {config.split} split is empty; change [motifs] split in {run.config_file}")
        return rows
    probability = predictions.probability(run.predictions)[rows][:, 0]
    positive = data.labels[rows, 0] == 1
    confident = probability > config.min_probability
    if not (positive & confident).any():
        best = probability[positive].max(initial=0.0)
        raise SatoriError(
            f"no sequence to make motifs from: of {len(rows)} examples in the {config.split} split {positive.sum()} "
            f"are positive, and none of these is predicted above {config.min_probability} (largest: {best:.3f}); train "
            f"longer, or lower [motifs] min_probability or change its split in {run.config_file}"
        )
    selected: np.ndarray = rows[positive & confident]
    return selected


def _activations(
    layer: Layer, data: Dataset, rows: np.ndarray, runtime: Runtime, *, what: str
) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """Yield (tokens (B, L), activations of the layer) batch by batch; the rest of the network is not computed."""
    device = runtime.torch_device()
    begins = range(0, len(rows), runtime.batch_size)
    for begin in progress(begins, what=what, unit="batch"):
        batch = data.tokens[rows[begin : begin + runtime.batch_size]]
        with torch.inference_mode():
            activations = layer.activations(torch.from_numpy(batch).to(device))
        yield batch, activations


def _filter_columns(
    maximum: np.ndarray, threshold: np.ndarray, counts: SiteCounts, written: np.ndarray, found: list[Motif]
) -> dict[str, Any]:
    filters = len(threshold)
    information = np.full(filters, np.nan)
    consensus = [""] * filters
    for number, item in zip(written.tolist(), found, strict=True):
        information[number] = motif.information(item.ppm).sum()
        consensus[number] = motif.consensus(item.ppm)
    return {
        "filter": np.arange(filters, dtype=np.int32),
        "threshold": threshold,
        "maximum": maximum.astype(np.float32),
        "sites": counts.sites,
        "sequences": counts.sequences,
        "information": information,
        "consensus": consensus,
        "written": np.isin(np.arange(filters), written),
    }


def _tf_columns(
    run: Run, written: np.ndarray, found: list[Motif], database: Collection, runtime: Runtime
) -> tuple[dict[str, Any], list[Motif]]:
    """Return a column per field of TF, and the known motif of each row."""
    config: config_module.Motifs = run.config.motifs
    best = tomtom.best(
        [item.ppm for item in found],
        database.motifs,
        trim_bits=config.trim_bits,
        min_bits=config.min_match_bits,
        threads=runtime.cpu_threads(),
    )
    names = tf_names.of_motifs(database.motifs)
    known = [database.motifs[match.target] for match in best]
    columns = {
        "filter": written.astype(np.int32),
        "tf": [names[match.target] for match in best],
        "motif_id": [item.identifier or item.name for item in known],
        "p": [match.p for match in best],
        "q": [match.q for match in best],
        "strand": [match.strand for match in best],
        "offset": [match.offset for match in best],
        "ties": [match.ties for match in best],
        "bits": [match.bits for match in best],
        "chance": [match.chance for match in best],
        "named": [
            max(match.q, match.chance) <= config.max_match_q and match.bits >= config.min_match_bits for match in best
        ],
    }
    return columns, known
