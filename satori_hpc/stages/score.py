"""score: pair scores of the selected examples, foreground and background, by each configured method.

A partition of the store is a unit of work: batches restart with it, so who computes it does not shape its bytes, and
a killed run goes on with the partitions that are not done.
"""

import hashlib
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from satori_hpc import __version__, provenance, scoring
from satori_hpc.core import selection
from satori_hpc.errors import ArtefactError
from satori_hpc.log import logger, progress
from satori_hpc.models.satori import Satori
from satori_hpc.run import Run
from satori_hpc.scoring import PairScorer
from satori_hpc.stores import atomic, checkpoint, dataset, motifs, predictions, scores
from satori_hpc.stores.dataset import Dataset
from satori_hpc.stores.score_plan import GROUPS, Plan
from satori_hpc.stores.scores import ScoreStore
from satori_hpc.world import Runtime


@dataclass(frozen=True)
class Examples:
    """What is scored: rows of the dataset, and the rows and the tokens the background comes from."""

    foreground: np.ndarray
    background: np.ndarray
    tokens: dict[str, np.ndarray]
    background_source: str


def score(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Write the score store of every method of run.toml, or what is missing of it.

    Raises:
        ArtefactError: the artefacts do not fit together, or the shuffled background is missing.
        SatoriError: no example is left to score on one side.
    """
    settings = run.config.score
    data = dataset.read(run.dataset)
    examples = _select(run, data)
    model, _ = checkpoint.load_model(run.best, runtime.torch_device())
    threshold = _thresholds(run, model)
    digests = _digests(run, examples, threshold)
    summary: dict[str, Any] = {
        "foreground_examples": len(examples.foreground),
        "background_examples": len(examples.background),
    }
    for method in settings.methods:
        plan = Plan(
            method=method,
            filters=model.filters,
            foreground=examples.foreground,
            background=examples.background,
            background_source=examples.background_source,
            dataset_examples=data.examples,
            shard_examples=settings.shard_examples,
            chunk_pairs=settings.chunk_pairs,
            digests=digests,
        )
        atomic.sweep_partials(run.scores(method).parent)
        store = scores.create_or_resume(run.scores(method), plan)
        scorer = scoring.build(method, model, threshold=torch.from_numpy(threshold))
        summary[method] = _fill(store, scorer, examples, runtime)
    return summary


def _fill(store: ScoreStore, scorer: PairScorer, examples: Examples, runtime: Runtime) -> dict[str, Any]:
    """Score what is pending, close the store, and say what is in it."""
    began = time.monotonic()
    pending = store.pending()
    total = sum(len(store.partitions(group)) for group in GROUPS)
    logger.info(
        "%s: %d of %d partitions to score, %d pairs, %.2f GiB per partition in memory",
        store.method,
        len(pending),
        total,
        store.pairs,
        6 * store.pairs * max(last - first for group in GROUPS for first, last in store.partitions(group)) / 2**30,
    )
    for group, partition in progress(pending, what=f"scoring, {store.method}", unit="partition"):
        first, last = store.partitions(group)[partition]
        rows = store.examples(group)[first:last]
        score_partition(
            store, group, partition, scorer=scorer, tokens=examples.tokens[group][rows], batch_size=runtime.batch_size
        )
    store.finalise()
    return _summary(store, seconds=time.monotonic() - began)


def score_partition(
    store: ScoreStore, group: str, partition: int, *, scorer: PairScorer, tokens: np.ndarray, batch_size: int
) -> None:
    """Score one partition and write it.

    Args:
        store: open for writing.
        group: "foreground" or "background".
        partition: its number.
        scorer: the method.
        tokens: uint8 (rows of the partition, L).
        batch_size: sequences per forward pass.
    """
    score = np.empty((len(tokens), store.pairs), dtype=np.float32)
    distance = np.empty((len(tokens), store.pairs), dtype=np.int16)
    sites = 0
    for first in range(0, len(tokens), batch_size):
        part = scorer(torch.from_numpy(np.ascontiguousarray(tokens[first : first + batch_size])))
        score[first : first + batch_size] = part.score.cpu().numpy()
        distance[first : first + batch_size] = part.distance.cpu().numpy()
        sites += int(part.sites.sum())
    store.write_partition(group, partition, score=score, distance=distance, sites=sites)


def _select(run: Run, data: Dataset) -> Examples:
    settings, seed = run.config.score, run.config.seed
    _, probability = predictions.read(run.predictions)
    if len(probability) != data.examples:
        raise ArtefactError(
            f"{run.predictions}: predictions of {len(probability)} examples, but {run.dataset} holds {data.examples}; "
            f"make them again: satori-hpc train {run.path}"
        )
    rows = data.rows(settings.split)
    if data.task == "binary":
        chosen = selection.binary(data.labels[:, 0], probability[:, 0], rows=rows, settings=settings, seed=seed)
        tokens = {"foreground": data.tokens, "background": data.tokens}
        return Examples(chosen.foreground, chosen.background, tokens, "dataset")
    foreground = selection.multilabel(data.labels, probability, rows=rows, settings=settings, seed=seed)
    twins = _twins(run, data)
    tokens = {"foreground": data.tokens, "background": twins.tokens}
    row_of = {name: row for row, name in enumerate(twins.names)}
    missing = [data.names[row] for row in foreground if data.names[row] not in row_of]
    if missing:
        raise ArtefactError(
            f"{run.background}: no shuffled twin of {len(missing)} examples ({', '.join(missing[:5])}, ...); "
            f"make it again: satori-hpc prepare {run.path} --background"
        )
    background = np.array([row_of[data.names[row]] for row in foreground], dtype=np.int64)
    return Examples(foreground, background, tokens, "background")


def _twins(run: Run, data: Dataset) -> Dataset:
    """The shuffled twins, named after their originals."""
    if not run.background.exists():
        raise ArtefactError(
            f"{run.background}: with several labels the background is made of shuffled twins, and there are none; "
            f"make them: satori-hpc prepare {run.path} --background"
        )
    twins = dataset.read(run.background, background=True)
    if twins.length != data.length:
        raise ArtefactError(
            f"{run.background}: sequences of {twins.length} bp, the dataset has {data.length} bp; "
            f"make it again: satori-hpc prepare {run.path} --background"
        )
    return twins


def _thresholds(run: Run, model: Satori) -> np.ndarray:
    """float32 (F,); the foreground's thresholds serve both sides, so that "active" means the same in both."""
    table = motifs.read_filters(run.motifs).sort_values("filter")
    if table["filter"].tolist() != list(range(model.filters)):
        raise ArtefactError(
            f"{run.motifs}: thresholds of {len(table)} filters, the model has {model.filters}; "
            f"make them again: satori-hpc motifs {run.path}"
        )
    return np.array(table["threshold"], dtype=np.float32)


def _digests(run: Run, examples: Examples, threshold: np.ndarray) -> dict[str, str]:
    """Digests of all that the scores of an example follow from."""
    sources = [run.dataset] + ([run.background] if examples.background_source == "background" else [])
    return {
        "sequences": provenance.digest_of(provenance.listing(run.path, sources)),
        "model": provenance.file_digest(run.best),
        "thresholds": hashlib.sha256(threshold.tobytes()).hexdigest(),
        "version": __version__,
    }


def _summary(store: ScoreStore, *, seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for group in GROUPS:
        markers = store.markers(group)
        examples = len(store.examples(group))
        observed = sum(marker.observed for marker in markers)
        found[group] = {
            "observed_share": round(observed / (examples * store.pairs), 6),
            "mean_score": store.mean_score(group) if observed else None,
            "mean_sites_per_sequence": round(sum(marker.sites for marker in markers) / examples, 3),
            "bytes": sum(entry["bytes"] for marker in markers for entry in marker.files.values()),
        }
    return {"pairs": store.pairs, **found, "seconds": round(seconds, 2)}
