"""Run `report`: put all results of a run on one self-contained HTML page."""

import dataclasses
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
import torch

from satori_hpc import pairs
from satori_hpc.config import toml
from satori_hpc.data.dataset import Dataset, blocks
from satori_hpc.data.sources.simulate import truth
from satori_hpc.data.zarr_arrays import StoredRows
from satori_hpc.evaluation import calls, known_tables
from satori_hpc.evaluation import stage as evaluation_stage
from satori_hpc.interactions import block, differential, spacing, tables
from satori_hpc.interactions.site_pairs import Units
from satori_hpc.interactions.statistics import registry
from satori_hpc.models.base import TrainableModel
from satori_hpc.motifs import motif
from satori_hpc.parallel.world import Runtime
from satori_hpc.report.data import AttentionMap, Facts, FilterMotif, Method, Performance, ReportData, Spacing, Training
from satori_hpc.run import files, pipeline, provenance
from satori_hpc.run.layout import Run
from satori_hpc.scoring import store as score_store
from satori_hpc.scoring.store import ScoreStore
from satori_hpc.sites import store as motif_store
from satori_hpc.training import checkpoint, metrics, predictions
from satori_hpc.training.checkpoint import CheckpointInfo
from satori_hpc.tuning import ensemble


def report(run: Run, runtime: Runtime) -> dict[str, Any]:
    """Write report.html."""
    from satori_hpc.report import page as report_page  # here: matplotlib is slow to load

    run.report.unlink(missing_ok=True)
    data = gather(run, runtime)
    page = report_page.render(data)
    files.write_text(run.report, page)
    return {
        "page": run.report.name,
        "megabytes": round(len(page.encode()) / 1e6, 2),
        "TF pairs": sum(len(method.tf_pairs) for method in data.methods),
        "logos": min(len(data.motifs), data.max_logos),
    }


# Content of the report, collected from the artefacts of a run.

DISTANCES = 6  # interactions with a histogram of distances
SAMPLE_ATTENTION = 4_000_000  # attention values sampled for their distribution
TOP_EXAMPLES = 32


def gather(run: Run, runtime: Runtime) -> ReportData:
    """Read the run; the network runs once more on a few examples, because attention itself is stored nowhere."""
    data = Dataset(run.dataset)
    probability = predictions.probability(run.predictions)
    model, info = checkpoint.load(run.best, runtime.torch_device())
    stores = {name: score_store.open_complete(run.scores(name)) for name in run.config.score.methods}
    requested = pipeline.shown(run, pipeline.BY_NAME["report"])
    methods = [_method(run, name, store, requested) for name, store in stores.items()]
    first = next(iter(stores.values()))
    foreground = first.examples("foreground")
    largest = [probability[foreground[rows]].max(axis=1) for rows in blocks(len(foreground))]
    best_first = foreground[np.argsort(-np.concatenate(largest), kind="stable")]
    return ReportData(
        title=run.config.report.title or run.path.resolve().name,
        facts=_facts(run, data, stores, model),
        training=_training(run, info),
        performance=_performance(run, data, probability),
        motifs=_motifs(run, learned_from=0 if model.bank is None else len(model.bank)),
        max_match_q=run.config.motifs.max_match_q,
        attention_map=_attention_map(run, model, first, methods[0], int(best_first[0]))
        if model.has_attention
        else None,
        attention_sample=_attention_sample(run, model, best_first) if model.has_attention else None,
        positions=model.length // model.pool,
        methods=methods,
        known_pairs=calls.keys(truth.read_pairs(run.truth)) if run.truth.exists() else None,
        evaluation=evaluation_stage.read(run),
        records=_records(run),
        settings=toml.render(run.config),
    )


def _performance(run: Run, data: Dataset, probability: StoredRows) -> Performance:
    """Return the performance on every label; single examples only if their curves are drawn."""
    figures = metrics.read(run.label_metrics, split="test", labels=len(data.targets))
    rows = data.rows("test")
    one = (data.labels[rows, 0], probability[rows][:, 0]) if len(data.targets) == 1 else None
    return Performance(targets=data.targets, auroc=figures["auroc"], aupr=figures["aupr"], curves=one)


def _facts(run: Run, data: Dataset, stores: dict[str, ScoreStore], model: TrainableModel) -> Facts:
    config = run.config
    simulated = config.prepare.simulated
    names = {"training": "train", "validation": "valid", "test": "test"}
    return Facts(
        examples=len(data),
        length=data.length,
        targets=len(data.targets),
        filters=model.filters,
        width=model.width,
        known_motifs=model.bank is not None,
        pool=model.pool,
        heads=config.model.num_heads if model.has_fast_paths else None,
        positives=int(data.labels[:, 0].sum()) if data.task == "binary" else None,
        per_split={words: len(data.rows(split)) for words, split in names.items()},
        task=data.task,
        source=config.prepare.source,
        design=simulated.design if simulated is not None else None,
        architecture=config.model.architecture,
        entropy=config.train.entropy,
        reverse_complement=config.train.reverse_complement,
        seed=config.network_seed,
        scored={n: (len(s.examples("foreground")), len(s.examples("background"))) for n, s in stores.items()},
        alpha=config.reduce.alpha,
    )


def _training(run: Run, info: CheckpointInfo) -> Training | None:
    history = pd.read_csv(run.history, sep="\t")
    if history.empty:
        return None
    kept = np.flatnonzero(history["epoch"].to_numpy() == info.epoch)
    select = run.config.train.select
    baselines = {"6-mers": "kmers", "motif counts": "motif_counts"} if select == "auroc" else {}
    first = {words: history.iloc[0].get(f"valid_auroc_{name}", np.nan) for words, name in baselines.items()}
    return Training(
        epochs=history["epoch"].to_numpy(),
        losses={"training": history["train_loss"].to_numpy(), "validation": history["valid_loss"].to_numpy()},
        metric=select.upper(),
        values=history[f"valid_{select}"].to_numpy(),
        best=int(kept[0]) if len(kept) else int(np.nanargmax(history[f"valid_{select}"])),
        baselines={words: float(value) for words, value in first.items() if not np.isnan(value)},
    )


def _motifs(run: Run, *, learned_from: int) -> list[FilterMotif]:
    """Return the filters that have a motif, with their best match.

    Args:
        run: whose motifs these are.
        learned_from: number of the first filter that is learned; those before it are known motifs, perhaps trained
            further.
    """
    matches: dict[int, Any] = {match["filter"]: match for match in motif_store.read_tf(run.motifs).to_dict("records")}
    known = motif_store.read_known(run.motifs)
    found = []
    for number, item in motif_store.read_motifs(run.motifs).items():
        match = matches.get(number)
        if match is None:
            found.append(FilterMotif(number=number, ppm=item.ppm, sites=item.sites))
            continue
        matched = known[number].ppm
        compared = {name: float(match[name]) for name in ("p", "q", "chance", "bits") if number >= learned_from}
        if match["strand"] == "-":
            matched = motif.reverse_complement(matched)
        found.append(
            FilterMotif(
                number=number,
                ppm=item.ppm,
                sites=item.sites,
                tf=str(match["tf"]),
                motif_id=str(match["motif_id"]),
                named=bool(match["named"]),
                match=None if np.array_equal(matched, item.ppm) else matched,
                offset=int(match["offset"]),
                **compared,
            )
        )
    return found


def _method(run: Run, name: str, store: ScoreStore, requested: Collection[str]) -> Method:
    table = tables.read(run.interactions(name))
    compared = registry.statistic_of(run.config, name)
    together = ensemble.table_of(run, name) if "ensemble" in requested else None
    units = Units.motifs(store.motifs, run.config.reduce.combine)
    record = provenance.read(run.record("reduce"))
    cutoff = record.summary[name]["cutoff"] if record is not None else None
    return Method(
        name=name,
        filter_pairs=table,
        tf_pairs=tables.read_tf(run.interactions(name)),
        foreground=block.sample(store, units, "foreground"),
        background=block.sample(store, units, "background"),
        cutoff=cutoff,
        distances=_distances(store, units, table),
        spacings=_spacings(run, name),
        statistic=compared,
        resolution=store.pool,
        estimate=store.estimate,
        ensemble=None if together is None else (together, run.config.ensemble.seeds),
        known=known_tables.read_pairs(run.known_pairs(name)) if run.config.evaluate.known else None,
        differential=differential.read(run.interactions(name)) if "differential" in requested else None,
    )


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """Return tested filter pairs of two different named TFs, the best one of each TF pair, strongest first."""
    rows = table[table["tested"] & (table["tf_a"] != "") & (table["tf_b"] != "")]
    keys = [calls.key(*pair) for pair in zip(rows["tf_a"], rows["tf_b"], strict=True)]
    two = np.array([a != b for a, b in keys], dtype=bool)
    return rows[two & ~pd.Series(keys, dtype=object).duplicated().to_numpy()]


def _of_pair(store: ScoreStore, units: Units, row: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and distances of a filter pair in the foreground, (examples,)."""
    number = int(pairs.index(row["filter_a"], row["filter_b"], filters=units.count))
    score, distance = block.read_scores(store, units, "foreground", number, number + 1)
    return score[:, 0], distance[:, 0]


def _words(row: pd.Series) -> str:
    return " – ".join(sorted((row["tf_a"], row["tf_b"])))


def _distances(store: ScoreStore, units: Units, table: pd.DataFrame) -> list[tuple[str, np.ndarray]]:
    found = []
    rows = _named(table)
    for _, row in rows[rows["called"]].head(DISTANCES).iterrows():
        score, distance = _of_pair(store, units, row)
        found.append((_words(row), np.abs(distance[~np.isnan(score)].astype(np.int64))))
    return found


def _spacings(run: Run, name: str) -> list[Spacing]:
    """Return the interactions with the smallest p of a preferred spacing; ties by strength."""
    table, counts = spacing.read_tables(run.interactions(name))
    found = []
    for row in table[table["tested"]].sort_values("preferred_p", kind="stable").head(DISTANCES).to_dict("records"):
        mine = counts[counts["name"] == row["name"]]
        q = {test: float(row[f"{test}_q"]) for test in ("preferred", "helical", "order", "arrangement")}
        found.append(
            Spacing(
                name=str(row["name"]).replace("|", " – "),
                at=mine["spacing"].to_numpy(np.int64),
                foreground=mine["n_fg"].to_numpy(np.int64),
                background=mine["n_bg"].to_numpy(np.int64),
                window=(row["preferred_start"] - 0.5, row["preferred_end"] - 0.5),
                q={test: value for test, value in q.items() if not np.isnan(value)},
            )
        )
    return found


def _attention(
    run: Run, model: TrainableModel, store: ScoreStore, method: Method, best_first: np.ndarray
) -> dict[str, Any]:
    """Return the attention part of the page."""
    return {
        "attention_map": _attention_map(run, model, store, method, int(best_first[0])),
        "attention_sample": _attention_sample(run, model, best_first),
        "positions": model.length // model.pool,
    }


def _attention_map(run: Run, model: TrainableModel, store: ScoreStore, method: Method, fallback: int) -> AttentionMap:
    """Return attention of the example in which the strongest named interaction scores highest."""
    named = _named(method.filter_pairs)
    example, why, first = fallback, "The foreground example that the network is surest of.", []
    if len(named):
        row = named.iloc[0]
        score, _ = _of_pair(store, Units.motifs(store.motifs, run.config.reduce.combine), row)
        example = int(store.examples("foreground")[int(np.nanargmax(score))])
        why = f"The foreground example in which the strongest interaction, {_words(row)}, scores highest."
        first = [int(row["filter_a"]), int(row["filter_b"])]
    tokens = _tokens(run, model, np.array([example]))
    with torch.inference_mode():
        attention = model(tokens, attention=True).attention
    assert attention is not None
    return AttentionMap(
        values=attention[0].amax(dim=0).float().cpu().numpy(),
        marks=_marks(
            _sites(run, model, tokens, example), apart=max(1, round(model.width / 2 / model.pool)), first=first
        ),
        pool=model.pool,
        example=next(Dataset(run.dataset).names(np.array([example]))),
        why=why,
    )


def _marks(sites: list[tuple[int, float, int, str]], *, apart: int, first: list[int]) -> list[tuple[int, str]]:
    """Return (position, TF) of sites: the clearest wins where several overlap.

    Args:
        sites: as of `_sites`.
        apart: two marks are at least so many positions from each other.
        first: motifs whose sites come before all others.
    """
    marks: list[tuple[int, str]] = []
    for _, _, position, name in sorted(
        (number not in first, -level, place, name) for number, level, place, name in sites
    ):
        if all(abs(position - other) >= apart for other, _ in marks):
            marks.append((position, name))
    return sorted(marks)


def _sites(run: Run, model: TrainableModel, tokens: torch.Tensor, example: int) -> list[tuple[int, float, int, str]]:
    """Return (motif, strength relative to its largest, bin, TF) of the sites of named motifs in an example."""
    filters = motif_store.read_filters(run.motifs).sort_values("filter")
    threshold, maximum = filters["threshold"].to_numpy(), filters["maximum"].to_numpy()
    named = motif_store.read_tf(run.motifs).query("named")
    tf = dict(zip(named["filter"].tolist(), named["tf"].tolist(), strict=True))
    given = motif_store.read_given(run.motifs, run.config.sites.source)
    if given is not None:
        found = given.find(tokens.cpu().numpy(), np.array([example]))
        level = found.strength / max(float(found.strength.max(initial=0)), 1e-30)
        place = (found.start + found.end) // 2 // model.pool
        rows = zip(found.motif.tolist(), level.tolist(), place.tolist(), strict=True)
        return [(number, share, at, tf[number]) for number, share, at in rows if number in tf]
    with torch.inference_mode():
        pooled = model.pooled(tokens)[0].float().cpu().numpy()
    return [
        (number, float(pooled[number, position] / maximum[number]), position, name)
        for number, name in tf.items()
        for position in np.flatnonzero(pooled[number] > threshold[number]).tolist()
    ]


def _attention_sample(run: Run, model: TrainableModel, best_first: np.ndarray) -> np.ndarray:
    """Return attention values, all heads, of the foreground examples with the most confident predictions."""
    with torch.inference_mode():
        first = model(_tokens(run, model, best_first[:1]), attention=True).attention
        count = int(np.clip(SAMPLE_ATTENTION // first.numel(), 1, TOP_EXAMPLES))
        attention = model(_tokens(run, model, best_first[:count]), attention=True).attention
    return np.asarray(attention.float().cpu().numpy())


def _tokens(run: Run, model: TrainableModel, rows: np.ndarray) -> torch.Tensor:
    device = next(model.parameters()).device
    return torch.from_numpy(Dataset(run.dataset).tokens[rows]).to(device)


def _records(run: Run) -> list[dict[str, Any]]:
    """Return the provenance of the stages behind the page."""
    read = [provenance.read(run.record(stage.name)) for stage in pipeline.STAGES if stage.name != "report"]
    return [dataclasses.asdict(record) for record in read if record is not None]
