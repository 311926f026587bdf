"""tracks: sites, interactions and attributions as files that genome browsers and TF-MoDISco take up."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from satori_hpc import __version__
from satori_hpc.config.score import METHODS
from satori_hpc.data.dataset import Dataset
from satori_hpc.data.sources.genome import genome as genomes
from satori_hpc.errors import ArtefactError, ConfigError, InputError, quoted
from satori_hpc.interactions import instances
from satori_hpc.interactions.coordinates import STRANDS, Places, places
from satori_hpc.interactions.tracks import files as track_files
from satori_hpc.interactions.tracks import sites as track_sites
from satori_hpc.interactions.tracks.files import Track
from satori_hpc.interactions.tracks.sites import Depth
from satori_hpc.log import progress
from satori_hpc.models import satori
from satori_hpc.models.base import TrainableModel
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import files, lock, pipeline, sealed
from satori_hpc.run.layout import Run
from satori_hpc.run.pipeline import Stage
from satori_hpc.scoring import plan as score_plan
from satori_hpc.scoring import select
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.base import Batch
from satori_hpc.scoring.dfim import DfimScorer
from satori_hpc.training import checkpoint, predictions

NEEDS = Stage(
    "tracks",
    "interactions.tracks.stage",
    ("prepare", "train", "motifs", "score", "reduce"),
    (),
    lambda run: [run.tracks],
    "track set",
)
# Colours of the strongest interactions, and the paler one of all others.
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
    """Make the track set of a run; keep an up-to-date set, resume an unfinished one.

    Args:
        run: scored and reduced.
        runtime: devices, threads, memory.
        label: for multi-label sets: only its examples, and attributions for it alone.
        attribute: number of examples with attributions, those with the most confident predictions.
        sizes_file: of the chromosomes; default: those of the genome of prepare, else as far as the examples reach.
        genome: name of the assembly, for browsers; with it a track hub is written.
        out: folder to write to, a track set there is replaced as a whole; default: tracks/ of the run.

    Raises:
        ArtefactError: a stage is missing or stale; names the command to run.
        InputError: there is no such label, the chromosome sizes do not fit, or `out` contains other files.
        SatoriError: pybigtools is not installed.
    """
    track_files.library()
    with lock.hold(run.path, what=f"satori-hpc tracks {quoted(run.path)}"):
        digests = pipeline.require(run, NEEDS)
        runtime.apply()
        folder = run.tracks if out is None else out
        chosen, ends = _choose(run, label)
        known = sizes_file or (run.chrom_sizes if run.chrom_sizes.exists() else None)
        sizes = dict(sorted(ends.items())) if known is None else genomes.read_sizes(known, needed=ends)
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
        done = track_files.whole(folder, key)
        if done is not None:
            return {**done, "folder": str(folder)}
        model: TrainableModel = satori.require(checkpoint.load(run.best, runtime.torch_device())[0], what="tracks")
        if run.config.sites.source != "network":
            raise ConfigError(
                f"{run.config_file}: tracks show the sites of the network's filters; expected sites.source = "
                f"'network', found {run.config.sites.source!r}"
            )
        parts = track_files.begin(folder, key)
        genomes.write_sizes(parts / "genome.chrom.sizes", sizes)
        shown, locus, summary = _interactions(run, parts, sizes)
        found, count = _sites(run, model, parts, chosen, sizes, batch_size=runtime.batch_size)
        surest = np.sort(np.argsort(-chosen.probability, kind="stable")[:attribute])
        wig = _attributions(run, model, parts, chosen.take(surest), sizes) if len(surest) else []
        every = [*found, *shown, *wig]
        first = chosen.at.take(np.arange(1))
        locus = locus or f"{first.chrom[0]}:{first.start[0] + 1}-{first.end[0]}"
        track_files.write_igv(parts / "igv.xml", every, genome=genome or "genome.chrom.sizes", locus=locus)
        if genome:
            track_files.write_hub(parts / "hub.txt", every, genome=genome, title=title)
        summary = {
            "examples": len(chosen.rows),
            "sites": count,
            "attributed examples": len(surest),
            "chromosomes": len(sizes),
            **summary,
        }
        track_files.publish(parts, folder, key, summary=summary)
    return {**summary, "folder": str(folder)}


def _choose(run: Run, label: str) -> tuple[_Chosen, dict[str, int]]:
    """Return the examples, and the last scored position on every chromosome."""
    data = Dataset(run.dataset)
    store = score_store.open_complete(run.scores(run.config.score.methods[0]))
    rows = store.examples("foreground")
    at = places(data, rows).escaped()
    order = at.in_order()
    rows, at = rows[order], at.take(order)
    ends: dict[str, int] = {}
    for chrom, end in zip(at.chrom.tolist(), at.end.tolist(), strict=True):
        ends[chrom] = max(end, ends.get(chrom, 0))
    probability = predictions.probability(run.predictions)[rows]
    if data.task == "binary":
        if label:
            raise InputError(f"--label {label}: this set has one label only; leave it out")
        return _Chosen(rows, at, probability[:, 0], None), ends
    right = select.true_positives(data.labels[rows], probability, run.config.score.label_probability)
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
    run: Run, model: TrainableModel, folder: Path, chosen: _Chosen, sizes: dict[str, int], *, batch_size: int
) -> tuple[list[Track], int]:
    path, big_bed = folder / "sites.bed", folder / "sites.bb"
    if not path.exists():
        with files.atomic_file(path) as partial, open(partial, "w", encoding="utf-8", newline="\n") as handle:
            track_sites.write(handle, run, model, rows=chosen.rows, at=chosen.at, batch_size=batch_size)
    count = sum(1 for _ in track_files.lines(path))
    if not count:
        return [], 0
    if not big_bed.exists():
        track_files.write_big(big_bed, path, sizes, track_files.SITES)
    kind = f"bigBed 6 + {len(track_files.SITES) - 6}"
    return [Track("sites", "sites.bb", kind, "motif sites", ("visibility pack",))], count


def _interactions(run: Run, folder: Path, sizes: dict[str, int]) -> tuple[list[Track], str, dict[str, int]]:
    """Return the instances of every method, the position of the strongest one, and numbers for the summary."""
    made, locus, numbers = [], "", {}
    for method in (method for method in METHODS if method in run.config.score.methods):
        table = instances.read_bedpe(run.interactions(method).with_name(f"{method}.bedpe"))
        numbers[f"{method} instances"] = len(table)
        columns = _interact(table, method)
        order = np.lexsort((columns["end"], columns["start"], columns["chrom"].astype(str)))
        path = folder / f"{method}.interact"
        with files.atomic_file(path) as partial, open(partial, "w", encoding="utf-8", newline="\n") as handle:
            track_files.Rows(handle, list(track_files.INTERACT)).add(
                {name: each[order] for name, each in columns.items()}
            )
        if not len(table):
            continue
        track_files.write_big(folder / f"{method}.interact.bb", path, sizes, track_files.INTERACT)
        made.append(Track(method, f"{method}.interact.bb", "bigInteract", f"{method} pairs", ("visibility full",)))
        size = sizes[columns["chrom"][0]]
        left, right = max(1, columns["start"][0] - MARGIN), min(size, columns["end"][0] + MARGIN)
        locus = locus or f"{columns['chrom'][0]}:{left}-{right}"
    return made, locus, numbers


def _interact(table: Any, method: str) -> dict[str, np.ndarray]:
    """Return columns of tracks.INTERACT, in the order of the instances."""
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


def _attributions(run: Run, model: TrainableModel, folder: Path, chosen: _Chosen, sizes: dict[str, int]) -> list[Track]:
    wig, hypotheticals, one_hot = (folder / name for name in ("attribution.bw", "attributions.npz", "one_hot.npz"))
    scratch = folder / track_files.SCRATCH
    scratch.mkdir(exist_ok=True)
    if not (wig.exists() and hypotheticals.exists()):
        letters, hypothetical = compute(run, model, rows=chosen.rows, targets=chosen.targets, folder=scratch)
        track_files.write_wig(wig, sizes, along_genome(letters, chosen.at))
        track_files.write_arrays(hypotheticals, hypothetical)
    if not one_hot.exists():
        write_one_hot(one_hot, run, chosen.rows, scratch / "one_hot.npy")
    at, path = chosen.at, folder / "attributed.bed"
    with files.atomic_file(path) as partial, open(partial, "w", encoding="utf-8", newline="\n") as handle:
        track_files.Rows(handle, list(track_files.ATTRIBUTED)).add(
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


# Attributions of single bases: along the genome, and as arrays for TF-MoDISco.

AT_ONCE = 64  # examples between two looks at the disk


def compute(
    run: Run, model: TrainableModel, *, rows: np.ndarray, targets: np.ndarray | None, folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Return attributions of examples, (N, L) float32, and their hypothetical contributions, (N, 4, L) float32.

    Both are on disk, in `folder`, and only memory-mapped. Parts finished by a killed command are kept.

    Args:
        run: trained, with motifs.
        model: in evaluation mode, on the device to compute on.
        rows: int64 (N,), the examples; random baselines are those of `inspect` and of foreground scores.
        targets: uint8 (N, T), the labels whose logits are explained; None of binary sets.
        folder: to write to; its content is of the same network and examples.

    Raises:
        ConfigError: it is no SATORI network.
    """
    data = Dataset(run.dataset)
    scorer = DfimScorer(
        satori.require(model, what="attributions of letters"),
        torch.from_numpy(score_plan.thresholds(run, model)),
        settings=run.config.score,
        seed=run.config.seed,
        composition=score_plan.composition(data),
    )
    marker = folder / "attributed"
    try:
        done = int(bytes(sealed.read_bytes(marker, mend="begin anew")))
    except (FileNotFoundError, ArtefactError):
        done = 0
    letters = track_files.mapped(folder / "letters.npy", (len(rows), model.length), goes_on=done > 0)
    hypothetical = track_files.mapped(folder / "hypothetical.npy", (len(rows), 4, model.length), goes_on=done > 0)
    for begin in progress(range(done, len(rows), AT_ONCE), what="attributions", unit=f"{AT_ONCE} examples"):
        piece = slice(begin, min(begin + AT_ONCE, len(rows)))
        keys = np.stack([np.full(piece.stop - begin, select.FOREGROUND), rows[piece]], axis=1)
        found = scorer.contributions(
            Batch(
                tokens=torch.from_numpy(data.tokens[rows[piece]]),
                keys=torch.from_numpy(keys),
                targets=None if targets is None else torch.from_numpy(targets[piece]),
            )
        )
        letters[piece], hypothetical[piece] = (each.cpu().numpy() for each in found)
        letters.flush()
        hypothetical.flush()
        sealed.write_bytes(marker, b"%d" % piece.stop)  # these are on disk, and are not computed again
    return letters, hypothetical


def along_genome(letters: np.ndarray, at: Places) -> Iterator[tuple[str, int, int, float]]:
    """Return (chromosome, start, end, attribution) of every base of the examples: the mean where several overlap.

    Args:
        letters: float32 (N, L), in the order of `Places.in_order`, along each example as the network read it.
        at: the examples, escaped.
    """
    waiting = Depth.empty()
    for begin in range(0, len(letters), AT_ONCE):
        values = np.asarray(letters[begin : begin + AT_ONCE])
        backwards = at.strand[begin : begin + AT_ONCE] < 0
        values = np.where(backwards[:, None], values[:, ::-1], values)
        chrom = at.chrom[begin : begin + AT_ONCE]
        edges = [0, *(1 + np.flatnonzero(chrom[1:] != chrom[:-1])).tolist(), len(chrom)]
        for first, last in zip(edges, edges[1:], strict=False):
            waiting = waiting.add(at.start[begin + first : begin + last], values[first:last])
            following = begin + last
            more = following < len(letters) and at.chrom[following] == chrom[first]
            done, waiting = waiting.split(int(at.start[following]) if more else None)
            name = str(chrom[first])
            for position, mean in zip(done.position.tolist(), done.mean.tolist(), strict=True):
                yield name, position, position + 1, mean


def write_one_hot(path: Path, run: Run, rows: np.ndarray, scratch: Path) -> None:
    """Write the sequences of examples as (N, 4, L) int8, A, C, G, T; zero at unknown bases."""
    data = Dataset(run.dataset)
    out = track_files.mapped(scratch, (len(rows), 4, data.length), np.int8)
    for begin in range(0, len(rows), AT_ONCE):
        tokens = data.tokens[rows[begin : begin + AT_ONCE]]
        out[begin : begin + AT_ONCE] = tokens[:, None, :] == np.arange(4, dtype=np.uint8)[:, None]
    track_files.write_arrays(path, out)
