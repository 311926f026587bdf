"""The section [score] of run.toml: which examples are scored, by which methods, and how each method works."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from satori_hpc.config import toml
from satori_hpc.config.toml import option, table
from satori_hpc.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Method:
    """A scoring method.

    Attributes:
        scorer: makes its SiteScorer (scoring.base), called as scoring.registry.build does; or "package.module:name" of
            that, imported on first use.
        generic: the same for networks without hand-written paths (models.base.TrainableModel.has_fast_paths); None:
            `scorer`, for all.
        given: the same for sites of a scan or a file ([sites] source), called with sites.given.GivenSites in place of
            the thresholds; None: it scores none.
        sentence: description of the score of two filters in a sequence; after "The score ... is" in the report.
        settings: dataclass of its table [score.<name>], which its scores follow from; None: it has none.
        follows: other keys of [score], and "seed", that they depend on; scores are recomputed when one changes.
        statistic: of its pairs where reduce.statistic is "auto"; "published" where `legacy` is
            true in [reduce] or in its settings.
        statistic_of_motifs: the same for networks that start from known motifs; None: `statistic`.
        permutes: it can also score sequences with permuted bases, for reduce.statistic = "permuted".
        pairs: scores pairs of given sites, by any network, called as scoring.generic.epistasis_pairs; or
            "package.module:name" of that; None: it cannot.
        picture: how `inspect` draws the `maps` of its scorer (report.pictures.Picture), or "package.module:name" of
            that; None: not at all.
    """

    scorer: Callable[..., Any] | str
    sentence: str
    generic: Callable[..., Any] | str | None = None
    given: Callable[..., Any] | str | None = None
    settings: type | None = None
    follows: tuple[str, ...] = ()
    statistic: str = "published"
    statistic_of_motifs: str | None = None
    permutes: bool = False
    pairs: Callable[..., Any] | str | None = None
    picture: Any = None


METHODS: Registry[Method] = Registry("scoring method")
METHODS.add(
    "attention",
    Method(
        scorer="satori_hpc.scoring.attention:build",
        given="satori_hpc.scoring.given:GivenAttention",
        generic="satori_hpc.scoring.generic_scorers:GenericAttention",
        picture="satori_hpc.report.pictures:ATTENTION",
        sentence="the largest attention between sites of the two filters, over heads and both directions",
        # Attention between learned filters follows their single importance; between known motifs with known
        # distances it follows their pairs (benchmarks/results/calls.md).
        statistic="contrasts-two-way",
        statistic_of_motifs="published",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Sites:
    """[score.sites]: the motif sites that dfim and epistasis mutate."""

    max_sites: int = option(
        24,
        "maximal number of sites per sequence (the strongest, non-overlapping); determines the cost per sequence",
        low=2,
    )
    max_distance: int = option(
        0,
        "sites further apart than this many bp (start to start) are not scored as pairs, which saves epistasis "
        "much work; 0 = any distance: then distant pairs serve as controls (reduce.max_distance)",
        low=0,
    )
    filters: str = option(
        "strongest",
        "filters that a site is assigned to: the strongest one, or all that are active in its window",
        choices=("strongest", "all"),
    )


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """[score.attribution]: integrated gradients over the attention matrices (SATORI 2.0)."""

    steps: int = option(20, "integration steps from zero to full attention", low=1)
    rule: str = option(
        "right",
        "placement of the steps: right as published; secant is complete for any number of steps, so few suffice",
        choices=("right", "left", "trapezoid", "midpoint", "gauss-legendre", "secant"),
    )
    target: str = option("logit", "what is attributed", choices=("logit", "probability"))
    absolute: bool = option(False, "score absolute attributions; else signed ones")


METHODS.add(
    "attribution",
    Method(
        scorer="satori_hpc.scoring.attribution:AttributionScorer",
        given="satori_hpc.scoring.given:GivenAttribution",
        picture="satori_hpc.report.pictures:ATTRIBUTION",
        settings=Attribution,
        follows=("precision",),
        statistic="contrasts-two-way",
        sentence="the contribution of the attention between sites of the two filters to the prediction (integrated "
        "gradients over attention), the largest over heads and both directions",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Dfim:
    """[score.dfim]: how much mutating one site changes the attribution of another."""

    attribution: str = option(
        "integrated",
        "integrated gradients, gradient x input, or deeplift (one secant step, also complete for attention)",
        choices=("integrated", "gradient", "deeplift"),
    )
    rule: str = option(
        "auto",
        "quadrature of integrated gradients; secant is complete with any number of steps, but for SATORI networks and "
        "their own sites only; auto = secant there, else midpoint",
        choices=("auto", "secant", "midpoint", "gauss-legendre"),
    )
    steps: int = option(10, "steps between baseline and sequence", low=1)
    baselines: int = option(3, "random baselines, each used for a sequence and all its mutants; averaged", low=1)
    baseline: str = option(
        "random",
        "start of the integration path: random bases, base frequencies (46 % G and C), or zero",
        choices=("random", "frequencies", "zero"),
    )
    mutations: int = option(2, "different letters put in place of a site; averaged", low=1)
    mutation: str = option(
        "random",
        "replacement of a mutated site: random bases, base frequencies (46 % G and C), or zero (no base)",
        choices=("random", "frequencies", "zero"),
    )
    feature: str = option(
        "interval",
        "interval: a site is mutated as a whole; base: each of its bases separately to each other base, the "
        "largest effect counts (3 x filter width mutants per site)",
        choices=("interval", "base"),
    )
    response: str = option(
        "sum",
        "response at the other site: sum of its attributions, or the largest change of a single position",
        choices=("sum", "max"),
    )
    null: bool = option(
        False,
        "also score every sequence with its bases permuted and the same sites mutated: the null of "
        "reduce.statistic = 'permuted' (doubles the cost)",
    )
    legacy: bool = option(
        False,
        "as published with SATORI: 50 Gauss-Legendre steps, independent random baselines for each mutant, one "
        "mutation, one direction; the options above are ignored",
    )


METHODS.add(
    "dfim",
    Method(
        scorer="satori_hpc.scoring.dfim:DfimScorer",
        given="satori_hpc.scoring.given:GivenDfim",
        generic="satori_hpc.scoring.generic_scorers:GenericDfim",
        pairs="satori_hpc.scoring.generic:dfim_pairs",
        picture="satori_hpc.report.pictures:DFIM",
        settings=Dfim,
        follows=("sites", "precision", "seed"),
        statistic="minimum-effect",
        permutes=True,
        sentence="the change of the attribution of one filter's site when the other's is mutated, the larger of both "
        "directions",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Epistasis:
    """[score.epistasis]: F(x) - F(x without i) - F(x without j) + F(x without both), forward passes only."""

    mutations: int = option(3, "different letters put in place of a site; averaged", low=1)


METHODS.add(
    "epistasis",
    Method(
        scorer="satori_hpc.scoring.epistasis:EpistasisScorer",
        given="satori_hpc.scoring.given:GivenEpistasis",
        generic="satori_hpc.scoring.generic_scorers:GenericEpistasis",
        pairs="satori_hpc.scoring.generic:epistasis_pairs",
        picture="satori_hpc.report.pictures:EPISTASIS",
        settings=Epistasis,
        follows=("sites", "precision", "seed"),
        statistic="minimum-effect",
        sentence="the joint contribution of two sites to the prediction beyond the sum of their single contributions, "
        "by mutating either and both; below 0, they are redundant",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Score:
    """[score]: which examples are scored, how, and the geometry of the stores."""

    methods: tuple[str, ...] = option(("attention",), "scoring methods, in this order", choices=METHODS)
    split: str = option("test", "examples to score", choices=("train", "valid", "test", "all"))
    positive_probability: float = option(0.65, "binary: foreground = positives predicted above this", low=0, high=1)
    negative_probability: float = option(0.35, "binary: background = negatives predicted below this", low=0, high=1)
    label_probability: float = option(0.5, "multilabel: a label is predicted at or above this", low=0, high=1)
    min_precision: float = option(
        0.5,
        "multilabel: foreground = examples of whose predicted labels at least this fraction is correct",
        low=0,
        high=1,
    )
    include_mispredicted: bool = option(False, "use every example of the split, also mispredicted ones")
    max_examples: int = option(5000, "maximal number of examples per side, sampled with the seed; 0 = all", low=0)
    precision: str = option(
        "float32",
        "precision of the convolutions after attention (deep): float32, tf32 (CUDA only) or bfloat16; for the "
        "loss of accuracy see docs/methods.md; attention and all layers before it stay in float32",
        choices=("float32", "tf32", "bfloat16"),
    )
    shard_examples: int = option(
        0,
        "examples per shard (one file per array); 0 = a power of two: about 32 shards, of at most 384 MiB in memory",
        low=0,
    )
    sites: Sites = table(Sites, "The motif sites that dfim and epistasis mutate.")
    attribution: Attribution = table(Attribution, "Integrated gradients over attention.")
    dfim: Dfim = table(Dfim, "Effect of mutating one site on the attribution of another.")
    epistasis: Epistasis = table(Epistasis, "Double mutants, forward passes only.")
    guests: dict[str, Any] = toml.guests(METHODS, used=lambda score: score.methods)

    def settings_of(self, method: str) -> Any:
        """Return the settings of a method, an instance of its registered dataclass."""
        return toml.child(self, method)

    def problems(self) -> Iterator[str]:
        if len(set(self.methods)) < len(self.methods):
            yield f"methods = {list(self.methods)}: a method stands there twice"
        if not self.methods:
            yield f"methods is empty: expected some of {', '.join(METHODS)}"


METHODS.reserve(toml.fields(Score))
