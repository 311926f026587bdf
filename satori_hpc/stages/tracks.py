"""tracks: sites, interactions and attributions as files that genome browsers and TF-MoDISco take up."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from satori_hpc import __version__
from satori_hpc.config_score import METHODS
from satori_hpc.core import selection
from satori_hpc.errors import InputError, quoted
from satori_hpc.models.satori import Satori
from satori_hpc.run import Run
from satori_hpc.stages import pipeline, track_attributions, track_sites
from satori_hpc.stages.pipeline import Stage
from satori_hpc.stages.places import STRANDS, Places, places
from satori_hpc.stores import (
    atomic,
    bedpe,
    big,
    browsers,
    checkpoint,
    chrom_sizes,
    dataset,
    lock,
    predictions,
    scores,
    track_set,
    tracks,
)
from satori_hpc.stores.browsers import Track
from satori_hpc.world import Runtime

NEEDS = Stage("tracks", ("prepare", "train", "motifs", "score", "reduce"), (), lambda run: [run.tracks], "track set")
# The strongest interactions, told apart by colour; what is paler than these is any other one.
COLOURS = (
    "11,102,176", "181,84,28", "46,125,50", "123,31,162", "194,24,91", "0,121,107", "249,168,37", "93,64,55"
)  # fmt: skip
GREY = "139,146,156"
MARGIN = 200  # bp shown around the first instance


@dataclass(frozen=True)
class _Chosen:
    """Foreground examples that the tracks show, in the order of the genome.

    Attributes:
        rows: int64, of the data set.
        at: their places, escaped.
        probability: float32, of being positive; of several labels the largest of those explained.
        targets: uint8 (examples, labels), labels whose logits are explained; None of binary sets.
    """

    rows: np.ndarray
    at: Places
    probability: np.ndarray
    targets: np.ndarray | None

    def take(self, which: np.ndarray) -> "_Chosen":
        targets = None if self.targets is None else self.targets[which]
        return _Chosen(self.rows[which], self.at.take(which), self.probability[which], targets)


def make(
    run: Run,
    runtime: Runtime,
    *,
    label: str = "",
    attribute: int = 1000,
    sizes_file: Path | None = None,
    genome: str = "",
    out: Path | None = None,
) -> dict[str, Any]:
    """Write the track set of a run; one that was made of the same inputs and settings stays, or is gone on with.

    Args:
        run: scored and reduced.
        runtime: what it may use.
        label: of a set with several: its examples alone, and what speaks for it alone.
        attribute: examples whose letters are attributed, those that the network is surest of.
        sizes_file: of the chromosomes; default: those of the genome of prepare, else as far as the examples reach.
        genome: name of the assembly, for browsers; with it a track hub is written.
        out: folder to write to, a track set there is replaced as a whole; default: tracks/ of the run.

    Raises:
        ArtefactError: a stage is missing or stale; says what to run.
        InputError: there is no such label, the chromosome sizes do not fit, or `out` holds other things.
        SatoriError: pybigtools is not installed.
    """
    big.library()
    with lock.hold(run.path, what=f"satori-hpc tracks {quoted(run.path)}"):
        digests = pipeline.require(run, NEEDS)
        runtime.apply()
        folder = run.tracks if out is None else out
        chosen, ends = _choose(run, label)
        known = sizes_file or (run.chrom_sizes if run.chrom_sizes.exists() else None)
        sizes = dict(sorted(ends.items())) if known is None else chrom_sizes.read(known, needed=ends)
        title = run.config.report.title or run.path.resolve().name
        key = {
            "version": __version__,
            "inputs": digests,
            "label": label or None,
            "attribute": attribute,
            "genome": genome or None,
            "title": title,
            "chromosomes": hashlib.sha256(json.dumps(sizes).encode()).hexdigest(),
        }
        done = track_set.whole(folder, key)
        if done is not None:
            return {**done, "folder": str(folder)}
        model, _ = checkpoint.load_model(run.best, runtime.torch_device())
        parts = track_set.begin(folder, key)
        chrom_sizes.write(parts / "genome.chrom.sizes", sizes)
        shown, locus, summary = _interactions(run, parts, sizes)
        found, count = _sites(run, model, parts, chosen, sizes, batch_size=runtime.batch_size)
        surest = np.sort(np.argsort(-chosen.probability, kind="stable")[:attribute])
        wig = _attributions(run, model, parts, chosen.take(surest), sizes) if len(surest) else []
        every = [*found, *shown, *wig]
        first = chosen.at.take(np.arange(1))
        locus = locus or f"{first.chrom[0]}:{first.start[0] + 1}-{first.end[0]}"
        browsers.write_igv(parts / "igv.xml", every, genome=genome or "genome.chrom.sizes", locus=locus)
        if genome:
            browsers.write_hub(parts / "hub.txt", every, genome=genome, title=title)
        summary = {
            "examples": len(chosen.rows),
            "sites": count,
            "attributed examples": len(surest),
            "chromosomes": len(sizes),
            **summary,
        }
        track_set.publish(parts, folder, key, summary=summary)
    return {**summary, "folder": str(folder)}


def _choose(run: Run, label: str) -> tuple[_Chosen, dict[str, int]]:
    """The examples, and how far all scored ones reach on every chromosome."""
    data = dataset.read_labels(run.dataset)
    store = scores.open_complete(run.scores(run.config.score.methods[0]))
    rows = store.examples("foreground")
    at = places(run.dataset, rows).escaped()
    order = at.in_order()
    rows, at = rows[order], at.take(order)
    ends: dict[str, int] = {}
    for chrom, end in zip(at.chrom.tolist(), at.end.tolist(), strict=True):
        ends[chrom] = max(end, ends.get(chrom, 0))
    probability = predictions.Probability(run.predictions)[rows]
    if data.task == "binary":
        if label:
            raise InputError(f"--label {label}: this set has one label only; leave it out")
        return _Chosen(rows, at, probability[:, 0], None), ends
    right = selection.true_positives(data.labels[rows], probability, run.config.score.label_probability)
    if label:
        if label not in data.targets:
            raise InputError(f"--label {label}: no such label; there are {', '.join(data.targets)}")
        number = data.targets.index(label)
        targets = np.zeros_like(right)
        targets[:, number] = 1
        which = np.flatnonzero(right[:, number])
        if not len(which):
            raise InputError(f"--label {label}: of no scored example is it predicted and true, so there is no track")
    else:
        targets, which = right.copy(), np.arange(len(rows))
        none = ~right.any(axis=1)
        targets[none, probability[none].argmax(axis=1)] = 1  # as inspect: the likeliest where none is right
    largest = np.where(targets > 0, probability, 0).max(axis=1)
    return _Chosen(rows, at, largest, targets).take(which), ends


def _sites(
    run: Run, model: Satori, folder: Path, chosen: _Chosen, sizes: dict[str, int], *, batch_size: int
) -> tuple[list[Track], int]:
    path, big_bed = folder / "sites.bed", folder / "sites.bb"
    if not path.exists():
        with atomic.atomic_file(path) as partial, open(partial, "w", encoding="utf-8", newline="\n") as handle:
            track_sites.write(handle, run, model, rows=chosen.rows, at=chosen.at, batch_size=batch_size)
    count = sum(1 for _ in tracks.lines(path))
    if not count:
        return [], 0
    if not big_bed.exists():
        tracks.write_big(big_bed, path, sizes, tracks.SITES)
    kind = f"bigBed 6 + {len(tracks.SITES) - 6}"
    return [Track("sites", "sites.bb", kind, "motif sites", ("visibility pack",))], count


def _interactions(run: Run, folder: Path, sizes: dict[str, int]) -> tuple[list[Track], str, dict[str, int]]:
    """The instances of every method, where the strongest one lies, and numbers for the summary."""
    made, locus, numbers = [], "", {}
    for method in (method for method in METHODS if method in run.config.score.methods):
        table = bedpe.read(run.interactions(method).with_name(f"{method}.bedpe"))
        numbers[f"{method} instances"] = len(table)
        columns = _interact(table, method)
        order = np.lexsort((columns["end"], columns["start"], columns["chrom"].astype(str)))
        path = folder / f"{method}.interact"
        with atomic.atomic_file(path) as partial, open(partial, "w", encoding="utf-8", newline="\n") as handle:
            tracks.Rows(handle, list(tracks.INTERACT)).add({name: each[order] for name, each in columns.items()})
        if not len(table):
            continue
        tracks.write_big(folder / f"{method}.interact.bb", path, sizes, tracks.INTERACT)
        made.append(Track(method, f"{method}.interact.bb", "bigInteract", f"{method} pairs", ("visibility full",)))
        size = sizes[columns["chrom"][0]]
        left, right = max(1, columns["start"][0] - MARGIN), min(size, columns["end"][0] + MARGIN)
        locus = locus or f"{columns['chrom'][0]}:{left}-{right}"
    return made, locus, numbers


def _interact(table: Any, method: str) -> dict[str, np.ndarray]:
    """Columns of tracks.INTERACT, in the order of the instances."""
    score = table["score"].to_numpy(np.float64)
    rank = {name: place for place, name in enumerate(dict.fromkeys(table["name"]))}
    sides = {
        f"{word}{part}": table[f"{column}{side}"].to_numpy()
        for word, side in (("source", 1), ("target", 2))
        for part, column in (("Chrom", "chrom"), ("Start", "start"), ("End", "end"), ("Strand", "strand"))
    }
    names = {
        f"{word}Name": np.array(
            [tf or f"filter{number}" for tf, number in zip(table[f"tf_{side}"], table[f"filter_{side}"], strict=True)],
            dtype=object,
        )
        for word, side in (("source", "a"), ("target", "b"))
    }
    return {
        "chrom": table["chrom1"].to_numpy(object),
        "start": np.minimum(sides["sourceStart"], sides["targetStart"]),
        "end": np.maximum(sides["sourceEnd"], sides["targetEnd"]),
        "name": table["name"].to_numpy(object),
        "score": np.clip(np.rint(1000 * score / max(score.max(initial=0.0), 1e-300)), 0, 1000).astype(np.int64),
        "value": score,
        "exp": np.full(len(table), method, dtype=object),
        "color": np.array(
            [COLOURS[rank[name]] if rank[name] < len(COLOURS) else GREY for name in table["name"]], dtype=object
        ),
        **sides,
        **names,
    }


def _attributions(run: Run, model: Satori, folder: Path, chosen: _Chosen, sizes: dict[str, int]) -> list[Track]:
    wig, hypotheticals, one_hot = (folder / name for name in ("attribution.bw", "attributions.npz", "one_hot.npz"))
    scratch = folder / track_set.SCRATCH
    scratch.mkdir(exist_ok=True)
    if not (wig.exists() and hypotheticals.exists()):
        letters, hypothetical = track_attributions.compute(
            run, model, rows=chosen.rows, targets=chosen.targets, folder=scratch
        )
        big.write_wig(wig, sizes, track_attributions.along_genome(letters, chosen.at))
        tracks.write_arrays(hypotheticals, hypothetical)
    if not one_hot.exists():
        track_attributions.one_hot(one_hot, run, chosen.rows, scratch / "one_hot.npy")
    at, path = chosen.at, folder / "attributed.bed"
    with atomic.atomic_file(path) as partial, open(partial, "w", encoding="utf-8", newline="\n") as handle:
        tracks.Rows(handle, list(tracks.ATTRIBUTED)).add(
            {
                "chrom": at.chrom,
                "start": at.start,
                "end": at.end,
                "name": at.names,
                "score": np.rint(1000 * chosen.probability).astype(np.int64),
                "strand": STRANDS[at.strand],
                "row": chosen.rows,
            }
        )
    settings = ("visibility full", "autoScale on", "alwaysZero on")
    return [Track("attribution", "attribution.bw", "bigWig", "attribution", settings)]
