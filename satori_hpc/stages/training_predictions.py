"""Predictions of the best network for all examples, and its figures by label: what training ends with."""

import functools
import hashlib
import json
from typing import Any

import numpy as np
import torch

from satori_hpc.core import metrics
from satori_hpc.core.labels import known
from satori_hpc.log import logger, progress
from satori_hpc.models.satori import Satori
from satori_hpc.run import Run
from satori_hpc.stages import validation
from satori_hpc.stores import examples, label_metrics, predictions
from satori_hpc.stores.dataset import Labels, Tokens
from satori_hpc.world import Runtime

MOST_NAMED = 5  # labels in a warning
RANKED_AT_ONCE = 2**24  # predictions that are in memory together while the figures of labels are worked out


def digest(weights: dict[str, torch.Tensor], digests: dict[str, str]) -> str:
    """Of weights, and of the configuration and data set that they belong to."""
    total = hashlib.sha256(json.dumps(digests, sort_keys=True).encode())
    for name, value in sorted(weights.items()):
        total.update(name.encode())
        total.update(value.numpy().tobytes())
    return total.hexdigest()


def predict(run: Run, runtime: Runtime, model: Satori, tokens: Tokens, *, targets: int, key: str) -> None:
    """Write the predictions of all examples, made and written a block at a time; killed, it goes on with the next.

    Args:
        run: to write to.
        runtime: what it may use.
        model: with the weights to predict with.
        tokens: of the data set.
        targets: T.
        key: digest of all that shapes the predictions.
    """
    world = runtime.world
    shape = {"examples": len(tokens), "outputs": model.output.out_features, "targets": targets}
    written = predictions.Writer(run.predictions, run.predictions_parts, key=key, **shape)
    done = world.lead(written.begin)
    left = [rows for rows in examples.blocks(len(tokens)) if rows.stop > done]
    if done:
        logger.info("predictions of %d examples are there already", done)
    for rows in progress(left, what="predictions", unit="block"):
        logits = validation.predict(model, tokens, rows=rows, batch_size=runtime.batch_size, world=world)
        world.lead(functools.partial(written.add, rows, logits.numpy(), model.score(logits).numpy()))
    world.lead(written.publish)


def measure(run: Run, model: Satori, data: Labels) -> dict[str, Any]:
    """Write the figures of every label, from the predictions of the run; their means."""
    found: dict[str, Any] = {}
    rows = []
    for split in ("valid", "test"):
        chosen = data.rows(split)
        labels = data.labels[chosen]
        auroc, aupr = _by_label(run, model, labels, chosen)
        for name, values in (("auroc", auroc), ("aupr", aupr)):
            usable = values[~np.isnan(values)]
            # JSON has no NaN: a split whose labels are all of one class has no figure.
            found[f"{split}_{name}"] = float(usable.mean()) if len(usable) else None
        found[f"{split}_labels_skipped"] = int(np.isnan(auroc).sum())
        for column, target in enumerate(data.targets):
            counts = {
                "examples": int(known(labels[:, column]).sum()),
                "positives": int((labels[:, column] == 1).sum()),
            }
            rows.append({"split": split, "label": target, **counts, "auroc": auroc[column], "aupr": aupr[column]})
    label_metrics.write(run.label_metrics, rows)
    _warn_near_chance([row for row in rows if row["split"] == "valid" and not np.isnan(row["auroc"])])
    return found


def _warn_near_chance(rows: list[dict[str, Any]]) -> None:
    """Warn of labels that the network cannot tell; rows as of labels.tsv, of labels with both classes."""
    near = []
    for row in rows:
        positives, negatives = row["positives"], row["examples"] - row["positives"]
        bound = metrics.chance_bound(positives, negatives)
        if row["auroc"] < bound:
            name = f"{row['label']} " if len(rows) > 1 else ""
            near.append(f"{name}{row['auroc']:.3f} ({positives} positives, {negatives} negatives; bound {bound:.3f})")
    if near:
        logger.warning(
            "validation AUROC near 0.5%s: %s%s. What is read from such a network means little: train longer, with "
            "another learning_rate or architecture, or on more examples",
            f" for {len(near)} of {len(rows)} labels" if len(rows) > 1 else "",
            ", ".join(near[:MOST_NAMED]),
            f" and {len(near) - MOST_NAMED} more, see labels.tsv" if len(near) > MOST_NAMED else "",
        )


def _by_label(run: Run, model: Satori, labels: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and AUPR of every label over some examples, whose predictions are read some labels at a time.

    Args:
        labels: uint8 (rows, T).
        rows: int64, of the data set.
    """
    if model.config.output == "two":
        both = torch.from_numpy(predictions.read_logits(run.predictions, rows))
        return metrics.by_label(labels, model.margin(both).numpy())
    found = []
    step = max(1, RANKED_AT_ONCE // max(1, len(rows)))
    columns = range(0, labels.shape[1], step)
    for first in progress(columns, what="figures of labels", unit="block"):
        some = slice(first, min(first + step, labels.shape[1]))
        logits = torch.from_numpy(predictions.read_logits(run.predictions, rows, some))
        threads = torch.get_num_threads()
        found.append(metrics.by_label(labels[:, some], model.margin(logits).numpy(), threads=threads))
    auroc, aupr = (np.concatenate(values) for values in zip(*found, strict=True))
    return auroc, aupr
