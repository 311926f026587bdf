"""ReportData in, one self-contained HTML text out."""

import base64
import hashlib
import html
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from satori_hpc import __version__
from satori_hpc.config.statistics import STATISTICS
from satori_hpc.report import tables, words
from satori_hpc.report.data import FilterMotif, Method, ReportData
from satori_hpc.report.figures import attention, curves, logos, network, pairs

TEMPLATES = resources.files("satori_hpc.report") / "templates"


@dataclass(frozen=True)
class Drawing:
    """An <svg> and its text alternative."""

    svg: Markup
    alt: str


@dataclass(frozen=True)
class Table:
    """Data of an interactive table: its JSON, safe inside a script element, its name and how many rows it has."""

    json: Markup
    caption: str
    rows: int


@dataclass(frozen=True)
class MotifRow:
    """A filter, its logo, and that of its best known motif, if it is not that motif itself."""

    motif: FilterMotif
    logo: Markup
    known: Markup | None


@dataclass(frozen=True)
class MethodPart:
    """Page content of one method."""

    name: str
    explanation: str
    accuracy: str
    network: Drawing | None
    edges: int
    called: int
    tf_table: Table
    seeds: int
    ensemble_table: Table | None
    volcano: Drawing | None
    distances: Drawing | None
    spacings: Drawing | None
    filter_table: Table
    support: Table | None
    differential: Table | None
    by_label: Drawing | None


def render(data: ReportData) -> str:
    """Return the page.

    Everything is inside: style, script, figures as SVG, tables as JSON. A content security policy forbids any request
    and any script but ours, whose digest it names, so that a hostile name in a file stays text twice over.
    """
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    template = environment.from_string(resource("report.html.j2"))
    script = resource("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = [_method(data, number, method) for number, method in enumerate(data.methods)]
    return template.render(
        data=data,
        version=__version__,
        style=Markup(resource("report.css")),
        script=Markup(script),
        script_digest=digest,
        tiles=words.tiles(data),
        warnings=words.warnings(data.records),
        lead=words.lead(data),
        methods=parts,
        comparison=words.lines(data) if len(data.methods) > 1 else [],
        agreement=words.agreement(data.methods),
        ranking=_ranking(data),
        known=words.parts(data),
        training=_training(data),
        performance=_performance(data),
        distribution=_distribution(data),
        attention_map=_attention_map(data),
        letters=Markup(logos.letters()) if data.motifs else "",
        logos=_logos(data),
        provenance=_provenance(data.records),
    )


def resource(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _drawing(svg: str, alt: str) -> Drawing:
    return Drawing(Markup(svg), alt)


def _method(data: ReportData, number: int, method: Method) -> MethodPart:
    alpha = data.facts.alpha if data.facts is not None else 0.05
    edges = network.strongest_edges(method.tf_pairs)
    tested = method.filter_pairs[method.filter_pairs["tested"].astype(bool)]
    tf_rows = tables.tf_table(method.tf_pairs, data.known_pairs, max_rows=data.max_rows)
    filter_rows = tables.filter_table(method.filter_pairs, max_rows=data.max_rows)
    return MethodPart(
        name=method.name,
        explanation=words.explanation(method),
        accuracy=words.accuracy(method),
        network=_drawing(
            network.draw(edges, data.known_pairs, name=f"network-{number}"),
            f"Network of {len(edges)} called TF pairs. All of them are in the table of TF pairs.",
        )
        if len(edges)
        else None,
        edges=len(edges),
        called=int(method.tf_pairs["called"].sum()),
        tf_table=Table(Markup(tables.embed(tf_rows)), f"TF pairs, {method.name}", len(tf_rows["rows"])),
        seeds=method.ensemble[1] if method.ensemble else 0,
        ensemble_table=_ensemble(data, method),
        volcano=_drawing(
            pairs.volcano(
                method.filter_pairs, alpha, effect=STATISTICS[method.statistic].effect, name=f"volcano-{number}"
            ),
            f"Effect against significance of {len(tested)} filter pairs; {int(tested['called'].sum())} are called.",
        )
        if len(tested)
        else None,
        distances=_drawing(
            pairs.distances(method.distances, method.resolution, name=f"distances-{number}"),
            "Histograms of the distance between the two sites: "
            + "; ".join(f"{pair}, {len(values)} examples" for pair, values in method.distances),
        )
        if method.distances
        else None,
        spacings=_drawing(
            pairs.spacings(method.spacings, method.resolution, alpha=alpha, name=f"spacings-{number}"),
            "Spacing of the two sites, foreground against background: "
            + "; ".join(f"{each.name}, {pairs.told(each, alpha)}" for each in method.spacings),
        )
        if method.spacings
        else None,
        filter_table=Table(Markup(tables.embed(filter_rows)), f"Filter pairs, {method.name}", len(filter_rows["rows"])),
        support=_support(data, method),
        differential=_differential(data, method),
        by_label=_by_label(method, number),
    )


def _differential(data: ReportData, method: Method) -> Table | None:
    if method.differential is None:
        return None
    rows = tables.differential_table(method.differential, max_rows=data.max_rows)
    return Table(Markup(tables.embed(rows)), f"Interactions by label, {method.name}", len(rows["rows"]))


def _by_label(method: Method, number: int) -> Drawing | None:
    """Draw the figure for several labels; a single label needs only the table."""
    if method.differential is None:
        return None
    tested = method.differential[method.differential["tested"].astype(bool)]
    if tested["label"].nunique() < 2:
        return None
    differ = int(tested["differs"].sum())
    return _drawing(
        pairs.heat_map(method.differential, name=f"labels-{number}"),
        f"Heat map of {tested['label'].nunique()} labels; in {differ} of {len(tested)} tests with and without differ.",
    )


def _support(data: ReportData, method: Method) -> Table | None:
    if method.known is None or method.known.empty:
        return None
    rows = tables.support_table(method.known, max_rows=data.max_rows)
    return Table(Markup(tables.embed(rows)), f"Rows that list called pairs, {method.name}", len(rows["rows"]))


def _ensemble(data: ReportData, method: Method) -> Table | None:
    if method.ensemble is None or method.ensemble[0].empty:
        return None
    rows = tables.ensemble_table(method.ensemble[0], data.known_pairs, max_rows=data.max_rows)
    return Table(Markup(tables.embed(rows)), f"TF pairs of several networks, {method.name}", len(rows["rows"]))


def _ranking(data: ReportData) -> Drawing | None:
    if not data.evaluation or not (data.evaluation.get("truth") or {}).get("pairs"):
        return None
    everything = {**data.evaluation["methods"], "co-occurrence": data.evaluation["cooccurrence"]}
    points = {name: (scores["curve"]["recall"], scores["curve"]["precision"]) for name, scores in everything.items()}
    alt = "Precision against recall. AUPR: " + ", ".join(f"{name} {s['aupr']:.2f}" for name, s in everything.items())
    return _drawing(curves.pair_ranking(points, data.evaluation["truth"]["base_rate"]), alt)


def _training(data: ReportData) -> Drawing | None:
    if data.training is None or len(data.training.epochs) == 0:
        return None
    best = data.training.values[data.training.best]
    alt = f"Loss and validation {data.training.metric} by epoch; the best is {best:.3f}."
    for name, value in data.training.baselines.items():
        than = "better than" if best > value else "no better than"
        alt += f" The network is {than} a regression on {name}, which has {value:.3f}."
    return _drawing(curves.training(data.training), alt)


def _performance(data: ReportData) -> Drawing | None:
    found = data.performance
    if found is None or not len(found.usable):
        return None
    auroc, aupr = (float(values[found.usable].mean()) for values in (found.auroc, found.aupr))
    if found.curves is not None:
        drawing = curves.binary(*found.curves, auroc=auroc, aupr=aupr)
        return _drawing(drawing, f"ROC curve, area {auroc:.3f}; precision-recall, {aupr:.3f}.")
    return _drawing(curves.multilabel(found), f"AUROC of every label; mean {auroc:.3f}, mean AUPR {aupr:.3f}.")


def _distribution(data: ReportData) -> Drawing | None:
    sample = data.attention_sample
    if sample is None or not (sample > 0).any():
        return None
    parts = [f"median attention value {words.median(sample):.2g}"]
    parts += [
        f"{m.name}: median pair score {words.median(m.foreground):.2g} in the foreground"
        f"{attention.zeros_in_words(m.foreground)}, {words.median(m.background):.2g} in the background"
        f"{attention.zeros_in_words(m.background)}"
        for m in data.methods
    ]
    return _drawing(
        attention.distribution(sample, data.positions, data.methods), "Histograms. " + "; ".join(parts) + "."
    )


def _attention_map(data: ReportData) -> Drawing | None:
    if data.attention_map is None:
        return None
    sites = ", ".join(
        f"{name} at {place * data.attention_map.pool} bp" for place, name in data.attention_map.marks[:20]
    )
    alt = f"Heat map of attention in {data.attention_map.example}. Motif sites: {sites or 'none'}."
    return _drawing(attention.heat_map(data.attention_map), alt)


def _logos(data: ReportData) -> list[MotifRow]:
    """Return motifs to show, named ones first by q-value, with their logos, that of the known motif aligned below."""
    ordered = sorted(data.motifs, key=lambda m: (not m.named, m.q if m.q == m.q else 2.0, -m.sites, m.number))
    shown = []
    for motif in ordered[: data.max_logos]:
        who = motif.tf if motif.named else "no TF"
        before, beside = max(0, motif.offset), max(0, -motif.offset)
        columns = max(before + len(motif.ppm), beside + (0 if motif.match is None else len(motif.match)))
        drawn = _logo(motif.ppm, f"Logo of filter {motif.number}, {who}", before, columns)
        known = None
        if motif.match is not None:
            known = _logo(motif.match, f"Logo of {motif.motif_id}, aligned with filter {motif.number}", beside, columns)
        shown.append(MotifRow(motif, drawn, known))
    return shown


def _logo(ppm: np.ndarray, what: str, before: int, columns: int) -> Markup:
    consensus = "".join("ACGT"[letter] for letter in ppm.argmax(axis=1))
    return Markup(logos.logo(ppm, html.escape(f"{what}: {consensus}"), before=before, columns=columns))


def _provenance(records: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return rows of the provenance table, versions (of the last stage) and digests of the files the user gave."""
    if not records:
        return None
    rows = [
        {
            "stage": record["stage"],
            "seconds": f"{record['elapsed_s']:,.1f}",
            "memory": f"{record['peak_rss_bytes'] / 2**30:.2f}",
            "device": record["device"],
            "processes": record["world_size"],
            "digest": record["digest"][:16],
            "finished": record["finished"][:16].replace("T", " "),
        }
        for record in records
    ]
    sources = {name: entry["sha256"] for record in records for name, entry in record["sources"].items()}
    return {"rows": rows, "versions": records[-1]["versions"], "sources": sources, "seed": records[-1]["seed"]}
