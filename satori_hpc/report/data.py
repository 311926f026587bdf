"""Define the content of the page: plain values and arrays, so that it can be drawn without a run directory.

Every part but the title may be absent; the page leaves its section out.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts about the run, for the opening sentences.

    Attributes:
        examples, length, targets, filters, width, pool, heads: sizes of data and network; filters 0, heads None: it has
            no meaningful value.
        known_motifs: the filters are known motifs, `width` that of the widest.
        positives: positive examples (binary), else None.
        per_split: {"train": ..., "valid": ..., "test": ...} examples.
        task: "binary" or "multilabel".
        source: of the sequences, as prepare.source.
        design: of a simulated set, as [prepare.simulated] design.
        architecture: model family.
        entropy: weight of the attention entropy.
        reverse_complement: that training showed: "none", "random" or "both".
        seed: of the network.
        scored: {method: (foreground, background) examples scored}.
        alpha: q-value at which an interaction is called.
    """

    examples: int
    length: int
    targets: int
    filters: int
    width: int
    pool: int
    heads: int | None
    positives: int | None
    per_split: dict[str, int]
    task: str
    source: str
    design: str | None
    architecture: str
    entropy: float
    reverse_complement: str
    seed: int
    scored: dict[str, tuple[int, int]]
    alpha: float
    known_motifs: bool = False


@dataclass(frozen=True, kw_only=True)
class Training:
    """One value per epoch.

    Attributes:
        losses: {"training": (K,), "validation": (K,)}.
        metric: name of the validation metric that chose the model.
        values: float (K,), that metric.
        best: index of the epoch whose weights were kept.
        baselines: {words: the same metric of a regression without a network}.
    """

    epochs: np.ndarray
    losses: dict[str, np.ndarray]
    metric: str
    values: np.ndarray
    best: int
    baselines: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Performance:
    """How well the labels of the test examples are predicted.

    Attributes:
        targets: names of the T labels.
        auroc, aupr: float (T,); NaN of a label that has one class only.
        curves: where there is one label, it, uint8 (E,), and its probability, float32 (E,), of every example.
    """

    targets: list[str]
    auroc: np.ndarray
    aupr: np.ndarray
    curves: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def usable(self) -> np.ndarray:
        """int64: labels of two classes; the others have no figure."""
        return np.flatnonzero(~np.isnan(self.auroc))


@dataclass(frozen=True, kw_only=True)
class FilterMotif:
    """One filter's motif and its best known motif.

    Attributes:
        number: of the filter.
        ppm: float64 (w, 4) in A, C, G, T order.
        sites: it is made from.
        tf, motif_id: of the known motif; "" without one.
        p, q, chance, bits: of the match, as in tf.parquet; NaN without one, and of a known motif in the first layer.
        named: whether the filter is named after it.
        match: (v, 4) the known motif in the orientation of the match; None without one, or if it is the filter itself.
        offset: column of `match` aligned with column 0 of the filter.
    """

    number: int
    ppm: np.ndarray
    sites: int
    tf: str = ""
    named: bool = False
    motif_id: str = ""
    p: float = math.nan
    q: float = math.nan
    chance: float = math.nan
    bits: float = math.nan
    match: np.ndarray | None = None
    offset: int = 0


@dataclass(frozen=True, kw_only=True)
class AttentionMap:
    """Attention of one example.

    Attributes:
        values: float32 (n, n), largest over heads; rows look at columns.
        marks: (position, TF name) of the motif sites, by position.
        pool: bp per position.
        example: its name.
        why: one sentence, why this example is shown.
    """

    values: np.ndarray
    marks: list[tuple[int, str]]
    pool: int
    example: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Spacing:
    """Spacings of an interaction.

    Attributes:
        name: in words.
        at: int (D,), spacings, bp, rising.
        foreground, background: int (D,), examples with each.
        window: first spacing of the most significant one, and one past its last.
        q: q-value of each test that could be done: preferred, helical, order, arrangement.
    """

    name: str
    at: np.ndarray
    foreground: np.ndarray
    background: np.ndarray
    window: tuple[float, float]
    q: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Method:
    """Results of one scoring method.

    Attributes:
        name: such as "attention".
        filter_pairs: the interaction table, one row per filter pair.
        tf_pairs: the same by TF pair.
        foreground, background: samples of pair scores.
        cutoff: a pair is tested when its largest score reaches it; None when not known.
        distances: (TF pair in words, int (K,) distances in bp) of the strongest interactions.
        statistic: its name.
        resolution: of distances, bp.
        estimate: error estimate of the scores, by name, if the method has one.
        spacings: of the called interactions with the most significant spacing.
        ensemble: TF pairs of several networks together, and how many networks these are; None without an ensemble.
        known: called pairs that tables of known interactions list, with the rows that do; None without such tables.
        differential: which labels carry the called filter pairs; None where that was not asked.
    """

    name: str
    filter_pairs: pd.DataFrame
    tf_pairs: pd.DataFrame
    foreground: np.ndarray
    background: np.ndarray
    cutoff: float | None = None
    distances: list[tuple[str, np.ndarray]] = field(default_factory=list)
    statistic: str = "published"
    resolution: int = 1
    estimate: dict[str, float] = field(default_factory=dict)
    spacings: list[Spacing] = field(default_factory=list)
    ensemble: tuple[pd.DataFrame, int] | None = None
    known: pd.DataFrame | None = None
    differential: pd.DataFrame | None = None


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything on the page.

    Attributes:
        known_pairs: normalised implanted pairs, or None when there is no truth.
        evaluation: content of evaluation.json, or None.
        records: provenance records of the stages, in order, as dictionaries.
        settings: all keys of run.toml, as TOML.
        attention_sample: attention values of top examples, any order.
        positions: n, the positions that attention sees; a uniform row has 1/n everywhere.
        max_rows: rows of the page's tables.
        max_logos: logos shown.
        max_match_q: at most of a named filter, for q and chance.
    """

    title: str
    facts: Facts | None = None
    training: Training | None = None
    performance: Performance | None = None
    motifs: list[FilterMotif] = field(default_factory=list)
    attention_map: AttentionMap | None = None
    attention_sample: np.ndarray | None = None
    positions: int = 0
    methods: list[Method] = field(default_factory=list)
    known_pairs: set[tuple[str, str]] | None = None
    evaluation: dict[str, Any] | None = None
    records: list[dict[str, Any]] = field(default_factory=list)
    settings: str = ""
    max_rows: int = 2000
    max_logos: int = 60
    max_match_q: float = 0.05


# Content of the page of one sequence: plain values and arrays.


@dataclass(frozen=True)
class Site:
    """A motif site: its start and width, bp, and the TFs (or filters) that it is assigned to."""

    start: int
    name: str
    width: int


@dataclass(frozen=True, kw_only=True)
class SiteMap:
    """Pairwise values between the sites of a sequence: float32 (M, M), NaN where there is no pair."""

    sites: list[Site]
    values: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """One sequence, seen through every method.

    Attributes:
        title: of the run.
        example: name of the sequence.
        row: its row in the data set.
        facts: (label, value) lines about it.
        tokens: uint8 (L,), A, C, G, T, other = 0..4.
        pool: bp per bin.
        letters: float32 (L,), attribution of the sequence's bases.
        maps: by method, in the order of the page: a map of sites, or of bins float32 (n, n), of the heads' values the
            largest in size, with its sign; rows look at columns.
        explained: the target of the attributions, in words.
        attributed: the same of attention.
        arrays: name of the file with the arrays.
    """

    title: str
    example: str
    row: int
    facts: list[tuple[str, str]] = field(default_factory=list)
    tokens: np.ndarray
    pool: int
    letters: np.ndarray
    maps: dict[str, SiteMap | np.ndarray]
    explained: str
    attributed: str
    arrays: str
