"""score: pair scores of the selected examples, foreground and background, by each configured method.

A partition of the store is a unit of work: slices restart with it, so its bytes do not depend on the rank, and a
killed run resumes with the unfinished partitions. The code is the same for one process or many: the root makes the
plan and the empty store, all ranks process partitions, the root closes it. `plan`, `partitions` and `finalise` are the
same steps one by one, for job arrays.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from satori_hpc.data.dataset import Dataset
from satori_hpc.errors import ArtefactError, SatoriError, quoted
from satori_hpc.log import logger, progress
from satori_hpc.models.base import TrainableModel
from satori_hpc.parallel.world import Runtime
from satori_hpc.run import files, provenance
from satori_hpc.run.layout import Run
from satori_hpc.scoring import batches
from satori_hpc.scoring import plan as score_plan
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.base import Batch, SiteScorer
from satori_hpc.scoring.batches import Need, Slices, one_thread
from satori_hpc.scoring.layout import GROUPS
from satori_hpc.scoring.store import ScoreStore
from satori_hpc.training import checkpoint

Item = tuple[str, int]
SAMPLE = 4  # sequences on which a method estimates how far its scores are off


def score(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Write the missing parts of the score store of every method; called by every process of the world.

    Returns:
        a summary of the stores; "files" holds size and SHA-256 of every shard, by its path relative to the run.

    Raises:
        ArtefactError: the artefacts do not fit together, or the shuffled background is missing.
        SatoriError: no example is left to score on one side, or the memory does not suffice.
    """
    world = runtime.world
    world.run_on_root(lambda: _create(run))
    work = _load(run, runtime)
    done = {}
    for method in run.config.score.methods:
        began = time.monotonic()
        store = ScoreStore(run.scores(method))
        todo = _pending(store, runtime)
        world.run_on_root(lambda store=store, todo=todo: _announce(store, todo))  # type: ignore[misc]
        _fill(store, todo, work, runtime)
        world.run_on_root(lambda store=store: _close(store, work))  # type: ignore[misc]
        done[method] = {
            "scored": len(todo),
            "kept": len(store.items()) - len(todo),
            "seconds": round(time.monotonic() - began, 2),
        }
    return world.run_on_root(lambda: {**summary(run, done), "ranks": world.size})


def plan(run: Run, runtime: Runtime, *, replace: bool) -> dict[str, Any]:
    """Create the empty stores, or keep those of the same plan, and report the cost of scoring.

    Args:
        run: with all that scoring needs.
        runtime: devices, threads and memory of each process.
        replace: rebuild an existing store with another plan.

    Returns:
        {method: partitions and their numbers, examples, bytes, files, bytes of memory per rank by parts}.

    Raises:
        ArtefactError: there is a store with another plan, or the artefacts do not match.
        SatoriError: the memory does not suffice.
    """
    plans = score_plan.make(run)
    for each in plans:
        path = run.scores(each.method)
        if path.exists() and not replace and score_store.open_same(path, each) is None:
            raise ArtefactError(
                f"{path}: scores of another plan or another model are there, with "
                f"{len(list(run.score_markers(each.method).glob('*-*.json')))} partitions done; keep {path.parent} "
                f"elsewhere, or make them anew: satori-hpc score {quoted(run.path)} --plan --force"
            )
    for each in plans:
        score_store.create_or_resume(run.scores(each.method), each)
    work = _load(run, runtime)
    found: dict[str, Any] = {}
    first = 0
    for method in run.config.score.methods:
        store = ScoreStore(run.scores(method))
        found[method] = {"first_partition": first, **needed(store, work.need(store, runtime))}
        first += len(store.items())
    return found


def partitions(run: Run, runtime: Runtime, numbers: list[int]) -> dict[str, Any]:
    """Score some partitions, numbered from 0 over methods, groups and partitions; those that are done are left alone.

    Other processes may work on other partitions of the same stores.

    Raises:
        ArtefactError: a store is missing, or one of another plan.
        SatoriError: there is no such partition, or the memory does not suffice.
    """
    stores = _planned(run)
    numbered = [(store, item) for store in stores for item in store.items()]
    wrong = [number for number in numbers if not 0 <= number < len(numbered)]
    if wrong:
        raise SatoriError(
            f"no partition {', '.join(map(str, wrong))}: those of {run.path} are 0 to {len(numbered) - 1}"
        )
    work = _load(run, runtime)
    scored = 0
    for store in stores:
        asked = [numbered[number][1] for number in sorted(set(numbers)) if numbered[number][0] is store]
        todo = store.pending(asked)
        _fill(store, todo, work, runtime)
        scored += len(todo)
    return {"scored": scored, "kept": len(set(numbers)) - scored, "partitions": len(numbered)}


def finalise(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Close stores whose partitions are all written.

    Returns:
        as `score`.

    Raises:
        ArtefactError: a store is missing or of another plan, or partitions are missing; lists them.
    """
    done = {}
    stores = _planned(run)
    work = _load(run, runtime)
    for store in stores:
        _close(store, work)
        done[store.method] = {"scored": 0, "kept": len(store.items()), "seconds": 0.0}
    return {**summary(run, done), "ranks": runtime.world.size}


@dataclass(frozen=True)
class _Work:
    """State of a process while it scores."""

    model: TrainableModel
    scorers: dict[str, SiteScorer]
    data: Dataset
    background: Dataset  # what background examples are rows of; the same where they are negatives

    def need(self, store: ScoreStore, runtime: Runtime) -> Need:
        """Return memory and sizes of the work, decided on the root rank: slice size affects rounding."""
        scorer, workers, limit = self.scorers[store.method], runtime.cpu_threads(), runtime.memory

        def need() -> dict[str, int]:
            sample = self.batch(store, "foreground", np.arange(1))
            return asdict(batches.need(store, self.model, scorer, sample=sample, workers=workers, limit=limit))

        return Need(**runtime.world.run_on_root(need))

    def batch(self, store: ScoreStore, group: str, places: np.ndarray) -> Batch:
        """Read examples of a group, by their positions in it."""
        rows = store.examples(group)[places]
        tokens = (self.background if group == "background" else self.data).tokens[rows]
        keys = np.stack([np.full(len(rows), GROUPS.index(group)), rows], axis=1)
        targets = store.true_positive(places)  # a control has the labels of its original, which is at the same index
        return Batch(
            torch.from_numpy(tokens),
            torch.from_numpy(keys),
            None if targets is None else torch.from_numpy(targets),
        )


def _load(run: Run, runtime: Runtime) -> _Work:
    model, _ = checkpoint.load(run.best, runtime.torch_device())
    store, data = ScoreStore(run.scores(run.config.score.methods[0])), Dataset(run.dataset)
    scorers = score_plan.build(run, model, composition=store.composition)  # the same in all stores
    shuffled = store.attributes["background_source"] == "background"
    return _Work(model, scorers, data, Dataset(run.background, background=True) if shuffled else data)


def _close(store: ScoreStore, work: _Work) -> None:
    """Close a store whose partitions are all written; a method estimates on a few examples how far it is off."""
    store.require_all()
    try:
        estimate = store.estimate  # of the same plan, so the same
    except ArtefactError:
        total = store.partitions("foreground")[-1][1]
        places = np.unique(np.linspace(0, total - 1, SAMPLE).astype(np.int64))
        sample = work.batch(store, "foreground", places)
        with one_thread():
            estimate = work.scorers[store.method].estimate(sample)
    store.finalise(estimate=estimate)


def _create(run: Run) -> None:
    """Make the stores, or clean those of the same plan up."""
    for plan in score_plan.make(run):
        path = run.scores(plan.method)
        files.sweep_partials(path.parent)
        if path.exists() and score_store.open_same(path, plan) is None:
            logger.info("%s: scores of another plan or another model; recomputing them", path)
        score_store.create_or_resume(path, plan).sweep()


def _planned(run: Run) -> list[ScoreStore]:
    """Open the stores of this run's plans, which must exist."""
    found: list[ScoreStore] = []
    for plan in score_plan.make(run):
        path = run.scores(plan.method)
        store = score_store.open_same(path, plan)
        if store is None:
            what = "scores of another plan or another model" if path.exists() else "no store to score into"
            raise ArtefactError(
                f"{path}: {what}; make the plan first: satori-hpc score {quoted(run.path)} --plan"
                + (" --force" if path.exists() else "")
            )
        found.append(store)
    return found


def _pending(store: ScoreStore, runtime: Runtime) -> list[Item]:
    """Return the unfinished partitions; each process verifies its part of the written ones."""
    world = runtime.world
    world.set_status(f"verifying the scores of {store.method}")
    bad = {item for found in world.all_gather(store.pending(store.items()[world.rank :: world.size])) for item in found}
    return [item for item in store.items() if item in bad]


def _announce(store: ScoreStore, todo: list[Item]) -> None:
    store.discard(todo)  # now only finished partitions have a marker
    logger.info(
        "%s: %d of %d partitions to score",
        store.method,
        len(todo),
        len(store.items()),
    )


def _fill(store: ScoreStore, todo: list[Item], work: _Work, runtime: Runtime) -> None:
    """Score this process's share of `todo`; rank 0 reports the progress of all."""
    world = runtime.world
    if not todo:
        return
    need = work.need(store, runtime)
    workers = min(need.workers, runtime.cpu_threads())
    with (
        ThreadPoolExecutor(1, "disk") as disk,
        Slices(work.scorers[store.method], size=need.slice, workers=workers, progress=world.progress) as slices,
    ):
        waiting: Future[None] | None = None  # writing lags one partition behind, so that no thread waits for the disk

        def run_one(item: Item) -> None:
            nonlocal waiting
            group, partition = item
            what = f"scoring, {group} partition {partition} of {store.method}"
            world.set_status(what)
            first, last = store.partitions(group)[partition]
            with _named(what):
                batch = work.batch(store, group, np.arange(first, last))
                scores = slices.score(batch)
                finish = store.stage_partition(group, partition, scores, threads=need.encoders)
            if waiting is not None:
                waiting.result()
            waiting = disk.submit(_named(what)(finish))

        mine = world.my_items(todo, schedule=runtime.schedule)
        steps = _steps(store, mine, run_one, last=lambda: waiting.result() if waiting is not None else None)
        if world.rank == 0:
            steps = progress(steps, what=f"scoring, {store.method}", total=len(todo), unit="partition")
        for _ in steps:
            pass
    world.set_status("")
    world.barrier()


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Say in whatever goes wrong which partition it was; it may have been noticed while another was worked on."""
    try:
        yield
    except SatoriError as error:
        raise type(error)(f"{what}: {error}") from error
    except Exception as error:
        error.add_note(f"while {what}")
        raise


def _steps(
    store: ScoreStore, mine: Iterator[Item], run_one: Callable[[Item], None], *, last: Callable[[], None]
) -> Iterator[None]:
    """Process `mine`; yield once for each partition that any process has finished meanwhile."""
    told = store.markers_there()
    for item in mine:
        run_one(item)
        done = store.markers_there()
        yield from [None] * (done - told)
        told = max(told, done)
    last()
    yield from [None] * (store.markers_there() - told)


# The cost of scoring, reported before, and the content of the stores, reported after.


def needed(store: ScoreStore, need: Need) -> dict[str, Any]:
    """Return the cost of scoring a store, for people and programs."""
    examples = {group: store.partitions(group)[-1][1] for group in GROUPS}
    parts = {group: len(store.partitions(group)) for group in GROUPS}
    rows = {group: store.shard_rows(group) for group in GROUPS}
    return {
        "partitions": parts,
        "examples": examples,
        "shard_examples": rows,
        "bytes_at_most": sum(parts[group] * rows[group] for group in GROUPS) * store.example_bytes,
        "files": store.expected_files(),
        "workers": need.workers,
        "slice": need.slice,
        "memory_per_rank": need.as_dict(),
        # On the root, and in every task of a job array: these select the examples first.
        "memory_while_planning": provenance.process_peak_rss_bytes(),
    }


def summary(run: Run, done: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Summarise the finished stores; warn of few examples.

    Args:
        run: whose stores they are.
        done: {method: further figures}.

    Returns:
        examples of both sides, the content of the store of each method, and "files": {shard relative to the run:
        size and SHA-256}.
    """
    stores = {method: ScoreStore(run.scores(method)) for method in done}
    any_store = next(iter(stores.values()))
    examples = {group: any_store.partitions(group)[-1][1] for group in GROUPS}
    _warn_of_few(run, examples)
    return {
        **{f"{group}_examples": count for group, count in examples.items()},
        **{method: {**_content(store), **done[method]} for method, store in stores.items()},
        "files": {
            (store.path.relative_to(run.path) / name).as_posix(): entry
            for store in stores.values()
            for name, entry in store.files().items()
        },
    }


def _warn_of_few(run: Run, examples: dict[str, int]) -> None:
    least = run.config.reduce.min_examples
    for group, count in examples.items():
        if count < least:
            logger.warning(
                "only %d %s examples are scored; reduce.min_examples asked for %d on each side. Take more: [score] "
                "split (now %r), include_mispredicted, max_examples and the bounds on predictions say which are taken",
                count,
                group,
                least,
                run.config.score.split,
            )


def _content(store: ScoreStore) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for group in GROUPS:
        markers = store.markers(group)
        examples = store.partitions(group)[-1][1]
        total = {name: sum(marker.entries[name] for marker in markers) for name in ("site", "place", "value")}
        size = sum(entry["bytes"] for marker in markers for entry in marker.files.values())
        found[group] = {
            "mean_sites_per_sequence": round(total["site"] / examples, 3),
            "mean_places_per_sequence": round(total["place"] / examples, 3),
            "mean_values_per_sequence": round(total["value"] / examples, 3),
            **{f"mean_{name}": store.mean_size(name, group) for name in store.attributes["effects"]},
            "bytes": size,
            "bytes_per_sequence": round(size / examples, 1),
        }
    estimate = {"estimate": store.estimate} if store.estimate else {}
    return {"motifs": store.motifs, **found, **estimate, "partitions": len(store.items())}
