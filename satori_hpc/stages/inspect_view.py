"""What the page of one sequence shows, from its arrays."""

from typing import Any

import numpy as np

from satori_hpc.core.labels import known
from satori_hpc.models.satori import Satori
from satori_hpc.report.inspect_data import Inspected, Site, SiteMap
from satori_hpc.run import Run
from satori_hpc.stores import dataset
from satori_hpc.stores.dataset import Labels

NAMED = 3  # names of filters at a site
LISTED = 6  # labels listed


def view(run: Run, model: Satori, data: Labels, arrays: dict[str, Any]) -> Inspected:
    """Arrays of stores.maps (plain values where they are single ones) as the page takes them."""
    names = arrays["filter_name"]
    attribution = arrays["attention_attribution"]
    largest = np.abs(attribution).argmax(axis=0)
    explained = [data.targets[target] for target in np.flatnonzero(arrays["explained"])]
    odds = "the log-odds of a positive" if data.task == "binary" else f"the log-odds of {_listed(explained)}"
    probability = run.config.score.attribution.target == "probability"
    return Inspected(
        title=run.config.report.title or run.path.resolve().name,
        example=arrays["name"],
        row=arrays["row"],
        facts=_facts(run, data, arrays),
        tokens=arrays["tokens"],
        width=model.width,
        pool=model.pool,
        attention=arrays["attention"].max(axis=0),
        attention_attribution=np.take_along_axis(attribution, largest[None], axis=0)[0],
        letters=arrays["letter_attribution"],
        dfim=_site_map(arrays, "dfim", names),
        epistasis=_site_map(arrays, "epistasis", names),
        explained=odds,
        attributed="the probability" if probability else odds,
        arrays=f"{arrays['row']}.npz",
    )


def _facts(run: Run, data: Labels, arrays: dict[str, Any]) -> list[tuple[str, str]]:
    row = arrays["row"]
    place = dataset.read_coordinates(run.dataset, np.array([row]))
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
        ("row", f"{row} of {data.examples:,}, {dataset.SPLITS[int(data.split[row])]} split"),
        ("place", f"{place.chrom[0]}:{start:,}–{end:,}{strand}" + ("" if end - start == data.length else other)),
        ("label" if data.task == "binary" else "labels", label),
        ("predicted", predicted),
    ]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _site_map(arrays: dict[str, Any], method: str, names: np.ndarray) -> SiteMap:
    sites = []
    for start, members in zip(arrays[f"{method}_start"].tolist(), arrays[f"{method}_filters"], strict=True):
        found = list(dict.fromkeys(names[members].tolist()))
        sites.append(Site(start, " / ".join(found[:NAMED]) + (" …" if len(found) > NAMED else "")))
    return SiteMap(sites=sites, values=arrays[method])
