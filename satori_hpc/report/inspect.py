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

from satori_hpc.config.score import METHODS
from satori_hpc.data.dataset import SPLITS, Dataset
from satori_hpc.data.splits import known
from satori_hpc.errors import ArtefactError, InputError
from satori_hpc.log import logger
from satori_hpc.models.base import TrainableModel
from satori_hpc.parallel.world import Runtime
from satori_hpc.registry import load
from satori_hpc.report.data import Inspected, Site, SiteMap
from satori_hpc.report.pictures import Picture
from satori_hpc.run import files, pipeline, provenance, sealed
from satori_hpc.run.layout import Run
from satori_hpc.run.pipeline import Stage
from satori_hpc.scoring import plan as score_plan
from satori_hpc.scoring import select
from satori_hpc.scoring.base import AttributesLetters, Batch
from satori_hpc.scoring.sites import Sites
from satori_hpc.sites import store as motif_store
from satori_hpc.training import checkpoint

NEEDS = Stage(
    "inspect",
    "report.inspect",
    ("prepare", "train", "motifs"),
    (),
    lambda run: [run.inspections],
    "maps of one sequence",
)
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
        ArtefactError: data set, model or motifs are missing or stale; names the command to run.
        InputError: there is no such sequence.
    """
    from satori_hpc.report import inspect_page  # here: matplotlib is slow to load

    inputs = pipeline.require(run, NEEDS)
    data = Dataset(run.dataset)
    row, name = find(data, example)
    device = runtime.torch_device()
    model = checkpoint.load(run.best, device)[0]
    arrays = {"row": row, "name": name, "labels": data.labels[row], **_maps(run, model, data, row)}
    folder = run.inspections if out is None else out
    text = inspect_page.page(view(run, model, data, arrays))
    write(folder / f"{row}.npz", **arrays)
    files.write_text(folder / f"{row}.html", text)
    seal(folder, row, example=name, inputs=inputs)
    return {
        "example": name,
        "row": row,
        "sites": max(len(values) for name, values in arrays.items() if name.endswith("_start")),
        "page": str(folder / f"{row}.html"),
        "arrays": str(folder / f"{row}.npz"),
    }


def find(data: Dataset, example: str) -> tuple[int, str]:
    """Return row and name of a sequence given by its name, else by its row number.

    Args:
        data: the data set.
        example: the user's argument. Names take precedence, because tables and browsers show them.

    Raises:
        InputError: there is none; proposes the nearest names, or gives the range.
    """
    number = int(example) if example.isascii() and example.isdigit() and len(example) < 19 else -1
    last = len(data) - 1

    def alike(name: str) -> tuple[int, int]:
        return len(os.path.commonprefix([name, example])), -abs(len(name) - len(example))

    # One pass: the name itself has the longest common beginning and no other length, so it would come first.
    candidates = heapq.nlargest(CANDIDATES, enumerate(data.names()), key=lambda item: alike(item[1]))
    for row, name in candidates[:1]:
        if name == example:
            return row, name
    if 0 <= number <= last:
        return number, next(data.names(np.array([number])))
    if number >= 0:
        raise InputError(f"no sequence {example}: the rows of {data.path} are 0 to {last}, and none has that name")
    near = difflib.get_close_matches(example, [name for _, name in candidates], n=NEAREST, cutoff=0.0)
    raise InputError(
        f"{data.path}: no sequence is named {example!r}; nearest: {', '.join(map(repr, near))}. "
        f"A row number, 0 to {last}, will do as well"
    )


def _maps(run: Run, model: TrainableModel, data: Dataset, row: int) -> dict[str, np.ndarray]:
    """Compute all arrays of report.inspect."""
    device = next(model.parameters()).device
    tokens = data.tokens[row : row + 1]
    with _told("letter composition of the training examples"):
        letters = score_plan.composition(data)
    with torch.inference_mode():
        logits = model.predicted(torch.from_numpy(tokens).to(device), attention=True).logits
        probability = model.score(logits)[0].cpu().numpy()
    explained = _explained(run, data, row, probability)
    negative = data.task == "binary" and data.labels[row, 0] == 0
    batch = Batch(
        tokens=torch.from_numpy(tokens),
        keys=torch.tensor([[select.BACKGROUND if negative else select.FOREGROUND, row]], dtype=torch.int64),
        targets=torch.from_numpy(explained[None]) if data.task == "multilabel" else None,
    )

    maps: dict[str, np.ndarray] = {}
    pictures = _pictures()
    scorers: dict[str, Any] = dict(score_plan.build(run, model, composition=letters, methods=list(pictures)))
    for method, scorer in scorers.items():
        picture = pictures[method]
        with _told(method):
            found = scorer.maps(batch)
            maps |= _sites(method, *found, model=model) if picture.sites else {method: _array(found)}
        if isinstance(scorer, AttributesLetters):
            with _told("attribution of bases"):
                maps["letter_attribution"] = _array(scorer.attributions(batch))
    return {
        "tokens": tokens[0],
        "logits": _array(logits),
        "probability": probability,
        "explained": explained,
        "filter_name": np.array(_filter_names(run), dtype=np.str_),
        **maps,
    }


def _pictures() -> dict[str, Picture]:
    """How the methods that are shown are drawn, by method, in the order of the registry."""
    return {name: load(entry.picture) for name, entry in METHODS.items() if entry.picture is not None}


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Log the start of a step, because deep networks are slow, and its duration."""
    logger.info("inspect: %s ...", what)
    began = time.monotonic()
    yield
    logger.info("inspect: %s, %.1f s", what, time.monotonic() - began)


def _array(batch: torch.Tensor) -> np.ndarray:
    """Return the single sequence of a batch, float32."""
    return np.asarray(batch[0].detach().float().cpu().numpy())


def _sites(method: str, sites: Sites, values: torch.Tensor, *, model: TrainableModel) -> dict[str, np.ndarray]:
    """Return the sites in use, and the values between them."""
    used = int(sites.used[0].sum())
    start = sites.position[0, :used].cpu().numpy() - model.padding
    return {
        method: _array(values)[:used, :used],
        f"{method}_start": start,
        f"{method}_end": start + sites.widths_in(model)[0, :used].cpu().numpy(),
        f"{method}_filters": sites.members[0, :used].cpu().numpy(),
    }


def _explained(run: Run, data: Dataset, row: int, probability: np.ndarray) -> np.ndarray:
    """Return uint8 (T,): the labels whose logits are explained, as in scoring; if none is right, the most probable."""
    if data.task == "binary":
        return np.ones(1, dtype=np.uint8)
    right = select.true_positives(data.labels[row], probability, run.config.score.label_probability)
    if not right.any():
        right[int(probability.argmax())] = 1
    return right


def _filter_names(run: Run) -> list[str]:
    named = motif_store.read_tf(run.motifs).query("named")
    tf = dict(zip(named["filter"].tolist(), named["tf"].tolist(), strict=True))
    return [str(tf.get(number, f"filter {number}")) for number in range(len(motif_store.read_filters(run.motifs)))]


# Content of the page of one sequence, from its arrays.

NAMED = 3  # names of filters at a site
LISTED = 6  # labels listed


def view(run: Run, model: TrainableModel, data: Dataset, arrays: dict[str, Any]) -> Inspected:
    """Convert arrays of report.inspect to the page's content (single values as plain numbers)."""
    names = arrays["filter_name"]
    pictures = sorted(_pictures().items(), key=lambda item: not item[1].sites)  # maps of sites first
    explained = [data.targets[target] for target in np.flatnonzero(arrays["explained"])]
    odds = "the log-odds of a positive" if data.task == "binary" else f"the log-odds of {_listed(explained)}"
    probability = run.config.score.attribution.target == "probability"
    return Inspected(
        title=run.config.report.title or run.path.resolve().name,
        example=arrays["name"],
        row=arrays["row"],
        facts=_facts(run, data, arrays),
        tokens=arrays["tokens"],
        pool=model.pool,
        letters=arrays["letter_attribution"],
        maps={
            method: _site_map(arrays, method, names) if picture.sites else _largest(arrays[method])
            for method, picture in pictures
        },
        explained=odds,
        attributed="the probability" if probability else odds,
        arrays=f"{arrays['row']}.npz",
    )


def _largest(values: np.ndarray) -> np.ndarray:
    """Return (n, n): of (heads, n, n) the value that is largest in size over the heads, with its sign."""
    largest = np.abs(values).argmax(axis=0)
    return np.take_along_axis(values, largest[None], axis=0)[0]


def _facts(run: Run, data: Dataset, arrays: dict[str, Any]) -> list[tuple[str, str]]:
    row = arrays["row"]
    place = data.coordinates(np.array([row]))
    strand = {1: " (+)", -1: " (−)"}.get(int(place.strand[0]), "")
    start, end, other = int(place.start[0]), int(place.end[0]), f" (not as long as the sequence, {data.length:,} bp)"
    probability = arrays["probability"]
    if data.task == "binary":
        label = "positive" if data.labels[row, 0] else "negative"
        predicted = f"positive with probability {probability[0]:.3f}"
    else:
        label = _listed([data.targets[target] for target in np.flatnonzero(data.labels[row] == 1)]) or "none"
        unknown = np.flatnonzero(~known(data.labels[row]))
        label += f"; not known: {_listed([data.targets[target] for target in unknown])}" if len(unknown) else ""
        likely = np.argsort(-probability, kind="stable")[:LISTED]
        predicted = ", ".join(f"{data.targets[target]} {probability[target]:.3f}" for target in likely)
    return [
        ("row", f"{row} of {len(data):,}, {SPLITS[int(data.split[row])]} split"),
        ("place", f"{place.chrom[0]}:{start:,}–{end:,}{strand}" + ("" if end - start == data.length else other)),
        ("label" if data.task == "binary" else "labels", label),
        ("predicted", predicted),
    ]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _site_map(arrays: dict[str, Any], method: str, names: np.ndarray) -> SiteMap:
    sites = []
    columns = (arrays[f"{method}_{name}"] for name in ("start", "end", "filters"))
    for start, end, members in zip(*columns, strict=True):
        found = list(dict.fromkeys(names[members].tolist()))
        name = " / ".join(found[:NAMED]) + (" …" if len(found) > NAMED else "")
        sites.append(Site(int(start), name, int(end - start)))
    return SiteMap(sites=sites, values=arrays[method])


# inspect/<row>.npz: the interaction maps of one sequence, plain arrays that numpy reads without pickles.

FORMAT_VERSION = 3

# Array -> its kind ("str" or a dtype) and its dimensions; docs/formats.md explains them.
ARRAYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "format_version": ("int64", ()),
    "row": ("int64", ()),
    "name": ("str", ()),
    "tokens": ("uint8", ("position",)),
    "labels": ("uint8", ("target",)),
    "logits": ("float32", ("output",)),
    "probability": ("float32", ("target",)),
    "explained": ("uint8", ("target",)),
    "filter_name": ("str", ("filter",)),
    "letter_attribution": ("float32", ("position",)),
}


def layout() -> dict[str, tuple[str, tuple[str, ...]]]:
    """ARRAYS, and behind them the maps of every method that is shown."""
    found = dict(ARRAYS)
    for method, picture in _pictures().items():
        found[method] = ("float32", ("site", "site") if picture.sites else ("head", "bin", "bin"))
        if picture.sites:
            found |= {f"{method}_{name}": ("int64", ("site",)) for name in ("start", "end")}
            found |= {f"{method}_filters": ("bool", ("site", "filter"))}
    return found


def write(path: Path, **arrays: Any) -> None:
    """Write the arrays of `layout`, all but `format_version`, in one step.

    Raises:
        ValueError: one is missing, unknown, or of another kind or shape.
    """
    content = {name: np.asarray(values) for name, values in {"format_version": FORMAT_VERSION, **arrays}.items()}
    expected = layout()
    if content.keys() != expected.keys():
        raise ValueError(f"expected the arrays {list(expected)}, found {list(content)}")
    for name, (kind, dimensions) in expected.items():
        found = content[name]
        if _kind(found) != kind or found.ndim != len(dimensions):
            raise ValueError(f"{name}: expected {kind} {dimensions}, found {found.dtype} {found.shape}")
    with files.atomic_file(path) as partial, open(partial, "wb") as handle:
        # No pickles: no array of `layout` is of objects.
        np.savez_compressed(handle, **{name: content[name] for name in expected})  # type: ignore[arg-type]


def read(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of `layout` by name.

    Raises:
        ArtefactError: the file is missing, damaged, or of another format version.
    """
    mend = "make it: satori-hpc inspect RUN EXAMPLE"
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
    except Exception as error:  # numpy, zipfile and zlib each have their own
        raise ArtefactError(f"{path}: no maps that can be read ({type(error).__name__}: {error}); {mend}") from None
    version = int(content.get("format_version", -1))
    if version != FORMAT_VERSION:
        raise ArtefactError(f"{path}: format version {version}, this program reads {FORMAT_VERSION}; {mend}")
    expected = layout()
    if content.keys() != expected.keys():
        raise ArtefactError(f"{path}: arrays {sorted(content)}, expected {sorted(expected)}; {mend}")
    return content


def seal(folder: Path, row: int, *, example: str, inputs: dict[str, str]) -> None:
    """Write <row>.json: the inputs of the page and the maps of a sequence, with their digests.

    Args:
        folder: of both.
        row: of the sequence.
        example: its name.
        inputs: digests of the stages that they were made from.
    """
    files = {path.name: provenance.entry(path) for path in (folder / f"{row}.html", folder / f"{row}.npz")}
    content = {"format_version": FORMAT_VERSION, "example": example, "inputs": inputs, "files": files}
    sealed.write_json(folder / f"{row}.json", content)


def read_seal(path: Path) -> dict[str, Any]:
    """Read the output of `seal`.

    Raises:
        FileNotFoundError: there is none.
        ArtefactError: it is damaged or of another format version.
    """
    return sealed.read_json(path, version=FORMAT_VERSION, mend=f"make it again: satori-hpc inspect RUN {path.stem}")


def _kind(values: np.ndarray) -> str:
    return "str" if values.dtype.kind == "U" else str(values.dtype)
