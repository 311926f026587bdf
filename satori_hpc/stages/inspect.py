"""inspect: one sequence through every method, as a page of pictures and as arrays; scored or not."""

import difflib
import heapq
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from satori_hpc import scoring
from satori_hpc.core import selection
from satori_hpc.errors import InputError
from satori_hpc.log import logger
from satori_hpc.models.satori import Satori
from satori_hpc.run import Run
from satori_hpc.scoring import Batch
from satori_hpc.scoring.sites import Sites
from satori_hpc.stages import inspect_view, pipeline, score_plans
from satori_hpc.stages.pipeline import Stage
from satori_hpc.stores import atomic, checkpoint, dataset, maps, motifs
from satori_hpc.stores.dataset import Labels
from satori_hpc.world import Runtime

NEEDS = Stage("inspect", ("prepare", "train", "motifs"), (), lambda run: [run.inspections], "maps of one sequence")
NEAREST = 3  # names that an error proposes
CANDIDATES = 500  # names with the longest common beginning, among which they are


def inspect(run: Run, runtime: Runtime, example: str, *, out: Path | None = None) -> dict[str, Any]:
    """Write the maps of one sequence: <row>.html to look at and <row>.npz to compute with.

    Args:
        run: trained, with motifs; nothing need be scored.
        runtime: the device to compute on.
        example: name of a sequence of the data set, or its row number.
        out: folder to write to; default: inspect/ of the run.

    Raises:
        ArtefactError: data set, model or motifs are missing or stale; says what to run.
        InputError: there is no such sequence.
    """
    from satori_hpc.report import inspect_page  # here: matplotlib is slow to load

    inputs = pipeline.require(run, NEEDS)
    row, name = find(run.dataset, example)
    data = dataset.read_labels(run.dataset)
    device = runtime.torch_device()
    model, _ = checkpoint.load_model(run.best, device)
    arrays = {"row": row, "name": name, "labels": data.labels[row], **_maps(run, model, data, row)}
    folder = run.inspections if out is None else out
    text = inspect_page.page(inspect_view.view(run, model, data, arrays))
    maps.write(folder / f"{row}.npz", **arrays)
    atomic.write_text(folder / f"{row}.html", text)
    maps.seal(folder, row, example=name, inputs=inputs)
    return {
        "example": name,
        "row": row,
        "sites": len(arrays["epistasis_start"]),
        "page": str(folder / f"{row}.html"),
        "arrays": str(folder / f"{row}.npz"),
    }


def find(path: Path, example: str) -> tuple[int, str]:
    """Row and name of a sequence that is given by its name, else by its row number.

    Args:
        path: the data set.
        example: what the user typed. A name wins: it is what tables and browsers show.

    Raises:
        InputError: there is none; proposes the nearest names, or tells the range.
    """
    number = int(example) if example.isascii() and example.isdigit() and len(example) < 19 else -1
    by_number, rows = None, 0

    def names() -> Iterator[str]:
        nonlocal by_number, rows
        for row, name in enumerate(dataset.read_names(path)):
            rows = row + 1
            by_number = name if row == number else by_number
            yield name

    def alike(name: str) -> tuple[int, int]:
        return len(os.path.commonprefix([name, example])), -abs(len(name) - len(example))

    # One pass: the name itself has the longest common beginning and no other length, so it would come first.
    candidates = heapq.nlargest(CANDIDATES, enumerate(names()), key=lambda item: alike(item[1]))
    for row, name in candidates[:1]:
        if name == example:
            return row, name
    if by_number is not None:
        return number, by_number
    if number >= 0:
        raise InputError(f"no sequence {example}: the rows of {path} are 0 to {rows - 1}, and none has that name")
    near = difflib.get_close_matches(example, [name for _, name in candidates], n=NEAREST, cutoff=0.0)
    raise InputError(
        f"{path}: no sequence is named {example!r}; nearest: {', '.join(map(repr, near))}. "
        f"A row number, 0 to {rows - 1}, will do as well"
    )


def _maps(run: Run, model: Satori, data: Labels, row: int) -> dict[str, np.ndarray]:
    """All arrays of stores.maps that are computed."""
    device = next(model.parameters()).device
    tokens = dataset.read_tokens(run.dataset, np.array([row]))
    threshold = score_plans.thresholds(run, model)
    with _told("letter composition of the training examples"):
        letters = score_plans.composition(run, data)
    with _told("attention"), torch.inference_mode():
        output = model(torch.from_numpy(tokens).to(device), attention=True)
        probability = model.score(output.logits)[0].cpu().numpy()
    assert output.attention is not None
    explained = _explained(run, data, row, probability)
    negative = data.task == "binary" and data.labels[row, 0] == 0
    batch = Batch(
        tokens=torch.from_numpy(tokens),
        keys=torch.tensor([[selection.BACKGROUND if negative else selection.FOREGROUND, row]], dtype=torch.int64),
        targets=torch.from_numpy(explained[None]) if data.task == "multilabel" else None,
    )

    def scorer(method: str) -> Any:
        return scoring.build(
            method,
            model,
            threshold=torch.from_numpy(threshold),
            settings=run.config.score,
            seed=run.config.seed,
            composition=letters,
        )

    with _told("attribution of attention"):
        attribution = _array(scorer("attribution").maps(batch))
    dfim = scorer("dfim")
    with _told("attribution of letters"):
        letter_attribution = _array(dfim.attributions(batch))
    with _told("dfim"):
        dfim_map = _sites("dfim", *dfim.maps(batch), padding=model.padding)
    with _told("epistasis"):
        epistasis_map = _sites("epistasis", *scorer("epistasis").maps(batch), padding=model.padding)
    return {
        "tokens": tokens[0],
        "logits": _array(output.logits),
        "probability": probability,
        "explained": explained,
        "filter_name": np.array(_filter_names(run, model.filters), dtype=np.str_),
        "attention": _array(output.attention),
        "attention_attribution": attribution,
        "letter_attribution": letter_attribution,
        **dfim_map,
        **epistasis_map,
    }


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Say what has begun, for deep networks take their time, and how long it took."""
    logger.info("inspect: %s ...", what)
    began = time.monotonic()
    yield
    logger.info("inspect: %s, %.1f s", what, time.monotonic() - began)


def _array(batch: torch.Tensor) -> np.ndarray:
    """The only sequence of a batch, float32."""
    return np.asarray(batch[0].detach().float().cpu().numpy())


def _sites(method: str, sites: Sites, values: torch.Tensor, *, padding: int) -> dict[str, np.ndarray]:
    """The sites that are used, and the values among them."""
    used = int(sites.used[0].sum())
    return {
        method: _array(values)[:used, :used],
        f"{method}_start": sites.position[0, :used].cpu().numpy() - padding,
        f"{method}_filters": sites.members[0, :used].cpu().numpy(),
    }


def _explained(run: Run, data: Labels, row: int, probability: np.ndarray) -> np.ndarray:
    """uint8 (T,): the labels whose logits are explained: as in scoring, or the likeliest one where none is right."""
    if data.task == "binary":
        return np.ones(1, dtype=np.uint8)
    right = selection.true_positives(data.labels[row], probability, run.config.score.label_probability)
    if not right.any():
        right[int(probability.argmax())] = 1
    return right


def _filter_names(run: Run, filters: int) -> list[str]:
    named = motifs.read_tf(run.motifs).query("named")
    tf = dict(zip(named["filter"].tolist(), named["tf"].tolist(), strict=True))
    return [str(tf.get(number, f"filter {number}")) for number in range(filters)]
