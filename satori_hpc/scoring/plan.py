"""The plans of the score stores: which examples, which thresholds, and digests of all that the scores follow from.

One process of a world makes them; the others read the stores.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from satori_hpc import __version__
from satori_hpc.config import plugins, toml
from satori_hpc.config.score import METHODS
from satori_hpc.data.dataset import Dataset
from satori_hpc.errors import ArtefactError, quoted
from satori_hpc.models.base import TrainableModel
from satori_hpc.registry import module_of
from satori_hpc.run import provenance
from satori_hpc.run.layout import Run
from satori_hpc.scoring import registry, select
from satori_hpc.scoring.base import SiteScorer
from satori_hpc.scoring.layout import Plan
from satori_hpc.sites import store as motif_store
from satori_hpc.sites.given import GivenSites
from satori_hpc.training import checkpoint, predictions

BLOCK = 8192  # sequences whose bases are counted at a time


@dataclass(frozen=True)
class _Examples:
    """Examples to score: rows of the dataset, and rows of the set of the background."""

    foreground: np.ndarray
    background: np.ndarray
    background_source: str
    true_positive: np.ndarray | None


def make(run: Run) -> list[Plan]:
    """Return the plan of every method of run.toml, in their order; holds labels and predictions, but no sequences.

    Raises:
        ArtefactError: the artefacts do not fit together, or the shuffled background is missing.
        SatoriError: no example is left to score on one side.
    """
    settings = run.config.score
    data = Dataset(run.dataset)
    examples = _select(run, data)
    model, _ = checkpoint.load(run.best, "cpu")
    given = motif_store.read_given(run.motifs, run.config.sites.source)
    digests = _digests(run, examples, thresholds(run, model), given)
    letters = composition(data)
    scorers = build(run, model, composition=letters)
    known = () if model.bank is None else model.bank.names
    return [
        Plan(
            method=method,
            known=known if given is None else given.names,
            widths=scorers[method].widths,
            foreground=examples.foreground,
            background=examples.background,
            background_source=examples.background_source,
            dataset_examples=len(data),
            shard_examples=settings.shard_examples,
            pool=scorers[method].pool,
            most=scorers[method].most,
            directed=scorers[method].directed,
            choose=scorers[method].choose,
            extras=scorers[method].extras,
            effects=scorers[method].effects,
            settings=_settings(run, method),
            composition=tuple(letters.tolist()),
            selection=select.record(settings, task=data.task, seed=run.config.seed),
            true_positive=examples.true_positive,
            targets=data.targets,
            digests=digests,
        )
        for method in settings.methods
    ]


def build(
    run: Run, model: TrainableModel, *, composition: np.ndarray, methods: Sequence[str] | None = None
) -> dict[str, SiteScorer]:
    """Return the scorers of methods by their names, of the sites that the run says.

    Args:
        run: whose settings they have.
        model: in evaluation mode, on the device to compute on.
        composition: float64 (4,), as of `composition`.
        methods: their names; default: those of run.toml.

    Raises:
        ArtefactError: the motifs are those of another model.
        ConfigError: the network lacks a part that a method needs, or a method scores no given sites.
    """
    threshold, given = (
        torch.from_numpy(thresholds(run, model)),
        motif_store.read_given(run.motifs, run.config.sites.source),
    )
    return {
        method: registry.build(
            method,
            model,
            threshold=threshold,
            settings=run.config.score,
            seed=run.config.seed,
            composition=composition,
            given=given,
        )
        for method in (run.config.score.methods if methods is None else methods)
    }


def composition(data: Dataset) -> np.ndarray:
    """Return float64 (4,): share of A, C, G and T in the training examples; read in blocks."""
    counts = np.zeros(4, dtype=np.int64)
    rows = data.rows("train")
    for first in range(0, len(rows), BLOCK):
        tokens = data.tokens[rows[first : first + BLOCK]]
        counts += [np.count_nonzero(tokens == letter) for letter in range(4)]
    return counts / counts.sum() if counts.any() else np.full(4, 0.25)


def _settings(run: Run, method: str) -> dict[str, Any]:
    """Return the settings that the scores depend on: keys and tables of [score], and the run's seed.

    A store is recomputed if and only if one of them changes (or model, thresholds or sequences).
    """
    values = {**toml.to_plain(run.config.score), "seed": run.config.seed}
    entry = METHODS[method]
    own = (method,) if entry.settings is not None else ()
    found = {name: values[name] for name in (*own, *entry.follows)}
    guest = plugins.digests((module_of(entry.scorer),))
    return {**found, "plugins": guest} if guest else found


def thresholds(run: Run, model: TrainableModel) -> np.ndarray:
    """Return float32 (F,); both sides use the foreground's thresholds, so that "active" means the same in both.

    Empty where sites come from a scan or a file.

    Raises:
        ArtefactError: they are those of another model.
    """
    if run.config.sites.source != "network":
        return np.zeros(0, dtype=np.float32)
    table = motif_store.read_filters(run.motifs).sort_values("filter")
    if table["filter"].tolist() != list(range(model.motifs)):
        raise ArtefactError(
            f"{run.motifs}: thresholds of {len(table)} filters, the model has {model.motifs}; "
            f"make them again: satori-hpc motifs {quoted(run.path)}"
        )
    return np.array(table["threshold"], dtype=np.float32)


def _select(run: Run, data: Dataset) -> _Examples:
    settings, seed = run.config.score, run.config.seed
    probability = predictions.probability(run.predictions)
    if len(probability) != len(data):
        raise ArtefactError(
            f"{run.predictions}: predictions of {len(probability)} examples, but {run.dataset} holds {len(data)}; "
            f"make them again: satori-hpc train {quoted(run.path)}"
        )
    rows = data.rows(settings.split)
    if data.task == "binary":
        positive = probability[np.arange(len(probability))][:, 0]
        chosen = select.binary(data.labels[:, 0], positive, rows=rows, settings=settings, seed=seed)
        return _Examples(chosen.foreground, chosen.background, "dataset", None)
    foreground = select.multilabel(data.labels, probability, rows=rows, settings=settings, seed=seed)
    true_positive = select.true_positives_of(foreground, data.labels, probability, settings.label_probability)
    return _Examples(foreground, _shuffled_controls(run, data, foreground), "background", true_positive)


def _shuffled_controls(run: Run, data: Dataset, foreground: np.ndarray) -> np.ndarray:
    """Return int64 rows of the shuffled controls of the foreground, matched by the names of their originals."""
    again = f"make it again: satori-hpc prepare {quoted(run.path)} --background"
    if not run.background.exists():
        raise ArtefactError(
            f"{run.background}: with several labels the background consists of shuffled controls, and there are none; "
            f"make them: satori-hpc prepare {quoted(run.path)} --background"
        )
    background = Dataset(run.background, background=True)
    length = background.length
    if length != data.length:
        raise ArtefactError(f"{run.background}: sequences of {length} bp, the dataset has {data.length} bp; {again}")
    # Both are in the order of the data set as a rule: then no name need be kept.
    found = np.empty(len(foreground), dtype=np.int64)
    controls = enumerate(background.names())
    for place, name in enumerate(data.names(foreground)):
        row = next((row for row, control in controls if control == name), None)
        if row is None:
            return _shuffled_controls_by_name(data, background, foreground, again)
        found[place] = row
    return found


def _shuffled_controls_by_name(data: Dataset, background: Dataset, foreground: np.ndarray, again: str) -> np.ndarray:
    rows = {name: row for row, name in enumerate(background.names())}
    names = list(data.names(foreground))
    missing = [name for name in names if name not in rows]
    if missing:
        few = ", ".join(missing[:5])
        raise ArtefactError(f"{background.path}: no shuffled control of {len(missing)} examples ({few}, ...); {again}")
    return np.array([rows[name] for name in names], dtype=np.int64)


def _digests(run: Run, examples: _Examples, threshold: np.ndarray, given: GivenSites | None) -> dict[str, str]:
    """Return digests of everything that the scores of an example depend on."""
    sources = [run.dataset] + ([run.background] if examples.background_source == "background" else [])
    return {
        "sequences": provenance.digest_of(provenance.listing(run.path, sources)),
        "model": provenance.file_digest(run.best),
        "thresholds": hashlib.sha256(threshold.tobytes()).hexdigest(),
        "version": __version__,
        **({"sites": given.digest} if given is not None else {}),
    }
