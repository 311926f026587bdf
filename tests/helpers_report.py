"""An in-memory report whose numbers look like those of a real run; some names are hostile."""

import numpy as np
import pandas as pd

from satori_hpc.core import metrics
from satori_hpc.report.data import (
    AttentionMap,
    Facts,
    FilterMotif,
    Method,
    Performance,
    ReportData,
    Spacing,
    Training,
)

HOSTILE = ("<script>window.hacked=1</script>", "</script><img src=x onerror='window.hacked=2'>", "A&B$x_1$\"'")
TFS = ("ARNT", "GATA3", "CTCF", "SPI1", "TFAP2A", "Nkx2-5", "MAX::MYC", "FOXA1", "SP1", "REST", "E2F6", "TEAD1", "JUND")


def tf_table(rows):
    """TF level from (tf_a, tf_b, q, auc, called) rows."""
    random = np.random.default_rng(5)
    columns = ["tf_a", "tf_b", "q", "auc", "called"]
    table = pd.DataFrame(rows, columns=columns)
    table["p"] = table["q"] / 10
    table["neg_log10_p"], table["effect"] = -np.log10(table["p"]), (table["auc"] - 0.5) / 7
    table["filter_pairs"] = random.integers(1, 9, len(table)).astype(np.int32)
    table["called_filter_pairs"] = np.where(table["called"], 1 + table["filter_pairs"] // 2, 0)
    table["n_fg"] = random.integers(20, 2500, len(table))
    table["median_distance"] = random.integers(4, 140, len(table)).astype(float)
    return table


def interactions(tfs, filters, *, seed):
    """(filter level, TF level, known pairs) with planted effects for some TF pairs."""
    random = np.random.default_rng(seed)
    names = [tfs[i % len(tfs)] if i % 4 else "" for i in range(filters)]
    every = [(a, b) for i, a in enumerate(sorted(tfs)) for b in sorted(tfs)[i + 1 :]]
    known = {every[i] for i in random.choice(len(every), len(every) // 4, replace=False)}
    rows = []
    for a in range(filters):
        for b in range(a + 1, filters):
            pair = tuple(sorted((names[a], names[b])))
            effect = 0.06 if pair in known else 0.0
            auc = float(np.clip(random.normal(0.53 + effect, 0.035), 0.2, 0.95))
            n_fg, n_bg = int(random.integers(4, 900)), int(random.integers(4, 700))
            tested = min(n_fg, n_bg) >= 10
            z = (auc - 0.5) * np.sqrt(12 * n_fg * n_bg / (n_fg + n_bg + 1))
            p = float(np.exp(-(max(z, 0) ** 2) / 2) / 2) if z > 0 else 0.5 + 0.4 * random.random()
            rows.append((a, b, names[a], names[b], tested, n_fg, n_bg, auc, p))
    table = pd.DataFrame(rows, columns=["filter_a", "filter_b", "tf_a", "tf_b", "tested", "n_fg", "n_bg", "auc", "p"])
    order = table[table["tested"]]["p"].rank(method="first")
    table["q"] = (table["p"] * table["tested"].sum() / order).clip(upper=1)
    table["neg_log10_p"], table["effect"] = -np.log10(table["p"]), (table["auc"] - 0.5) / 7
    table["called"] = table["tested"] & (table["q"] <= 0.05)
    table["median_fg"] = random.gamma(2, 0.02, len(table))
    table["median_bg"] = table["median_fg"] * 0.8
    table["median_distance"] = random.integers(4, 160, len(table)).astype(float)
    table = table.sort_values(["q", "auc"], ascending=[True, False]).reset_index(drop=True)
    level = table[table["tested"] & (table["tf_a"] != "") & (table["tf_b"] != "") & (table["tf_a"] != table["tf_b"])]
    first = {}
    for row in level.itertuples():
        first.setdefault(tuple(sorted((row.tf_a, row.tf_b))), (row.q, row.auc, row.called))
    tf_rows = [(*pair, *values) for pair, values in first.items()]
    return table, tf_table(tf_rows), {(a.lower(), b.lower()) for a, b in known}


def attention_map(random, cells=75, pool=4):
    scores = random.normal(0, 1, (cells, cells))
    marks = [(8, "ARNT"), (12, "GATA3"), (27, "CTCF"), (33, "SPI1"), (34, "E2F6"), (55, "MAX::MYC"), (61, "REST")]
    for place, _ in marks:
        scores[:, place] += 2.2
    scores[8, 12] = scores[12, 8] = scores[27, 33] = scores[55, 61] = 6
    values = np.exp(scores)
    values /= values.sum(axis=1, keepdims=True)
    return AttentionMap(
        values=values.astype(np.float32),
        marks=marks,
        pool=pool,
        example="sim20413:0-300(+)",
        why="The test example in which the strongest interaction, ARNT – GATA3, scores highest.",
    )


def spacing(random, first, second, *, place):
    """A pair with a peak at one spacing of the foreground."""
    at = np.arange(-148, 149, 4)
    background = random.poisson(12, len(at))
    foreground = random.poisson(9, len(at)) + np.where(at == place, 60, 0)
    q = {"preferred": 0.0005, "helical": 0.03, "order": 0.4}
    return Spacing(
        name=f"{first} – {second}", at=at, foreground=foreground, background=background,
        window=(place - 0.5, place + 7.5), q=q,
    )  # fmt: skip


STATISTICS = {"dfim": "within-sequence", "epistasis": "within-sequence"}


def method(name, tfs, filters, *, seed=2):
    """A method with made-up tables; the scores of epistasis have a sign."""
    random = np.random.default_rng([3, seed])
    filter_pairs, tf_pairs, _ = interactions(tfs, filters, seed=seed)
    strongest = [
        (f"{a} – {b}", np.abs(random.normal(24 + 12 * k, 10, 400)).round().astype(int))
        for k, (a, b) in enumerate(zip(tf_pairs["tf_a"][:6], tf_pairs["tf_b"][:6], strict=True))
    ]
    statistic = STATISTICS.get(name, "background")
    foreground, background = random.lognormal(-3.2, 1, 4000), random.lognormal(-3.5, 1, 4000)
    if name == "epistasis":
        foreground, background = random.normal(0.05, 1, 4000) ** 3, random.normal(0, 1, 4000) ** 3
    return Method(
        name=name,
        filter_pairs=filter_pairs,
        tf_pairs=tf_pairs,
        foreground=foreground,
        background=background,
        cutoff=0.05 if statistic == "background" else None,
        distances=strongest,
        spacings=[spacing(random, tfs[k], tfs[k + 1], place=8 + 4 * k) for k in range(min(6, len(tfs) - 1))],
        statistic=statistic,
        resolution=1 if name in STATISTICS else 4,
        estimate={"steps": 0.0123} if name == "dfim" else {},
    )


def report_data(
    *, truth=True, tfs=TFS, filters=48, title="Data-40, hard negatives", max_logos=60, methods=("attention",)
):
    random = np.random.default_rng(3)
    known = interactions(tfs, filters, seed=2)[2]
    labels = (random.random((3000, 1)) < 0.5).astype(np.uint8)
    logit = random.normal(0, 1.3, (3000, 1)) + 2.6 * (labels - 0.5)
    epochs = np.arange(1, 19)
    motifs = []
    for number in range(filters):
        ppm = random.dirichlet([0.25] * 4, 13)
        ppm[:2] = ppm[-2:] = 0.25
        q = float(10 ** random.uniform(-9, 0))
        motifs.append(
            FilterMotif(number=number, ppm=ppm, sites=int(random.integers(10, 9000)), tf=tfs[number % len(tfs)], q=q,
                        named=q <= 0.05)
        )  # fmt: skip
    curve = {"recall": [0.1, 0.3, 0.55, 0.9, 1.0], "precision": [0.9, 0.7, 0.5, 0.35, 0.25]}
    scores = {"called": 31, "correct": 12, "outside_pool": 2, "precision": 0.39, "recall": 0.6, "f1": 0.47,
              "nothing_called": False, "aupr": 0.48, "curve": curve}  # fmt: skip
    low = {**scores, "called": 9, "correct": 3, "precision": 0.33, "recall": 0.08, "f1": 0.13, "aupr": 0.3}
    evaluation = {
        "truth": {"pairs": 19, "tfs": 13, "possible_pairs": 78, "base_rate": 0.2436, "recall_ceiling": 0.84,
                  "named_tfs": 12},
        "call_all": {**low, "called": 78, "correct": 19, "precision": 0.2436, "recall": 1.0, "f1": 0.392,
                     "aupr": 0.2436},
        "methods": {name: {**scores, "aupr": 0.48 + 0.1 * k} for k, name in enumerate(methods)},
        "cooccurrence": {**low, "curve": {"recall": [0.2, 0.6, 1.0], "precision": [0.4, 0.3, 0.2436]}},
    }  # fmt: skip
    stages = ("prepare", "train", "motifs", "score", "reduce", "evaluate")
    versions = {"satori-hpc": "0.1.0", "python": "3.11.2", "torch": "2.13.0", "mpi4py": "absent"}
    return ReportData(
        title=title,
        facts=Facts(
            examples=30000, length=300, targets=1, filters=filters, width=13, pool=4, heads=8, positives=15000,
            per_split={"training": 24000, "validation": 3000, "test": 3000}, task="binary",
            source="simulated" if truth else "fasta", design="hard" if truth else None, architecture="deep",
            entropy=1e-4, strands="both", seed=1, scored=dict.fromkeys(methods, (1210, 1180)), alpha=0.05,
        ),
        training=Training(
            epochs=epochs,
            losses={"training": 0.7 * np.exp(-epochs / 9) + 0.1, "validation": 0.6 * np.exp(-epochs / 7) + 0.18},
            metric="AUROC", values=0.95 - 0.4 * np.exp(-epochs / 5) - 0.002 * np.maximum(epochs - 13, 0), best=12,
        ),
        performance=Performance(
            targets=["bound"],
            **dict(zip(("auroc", "aupr"), metrics.by_label(labels, logit), strict=True)),
            curves=(labels[:, 0], 1 / (1 + np.exp(-logit[:, 0]))),
        ),
        motifs=motifs,
        attention_map=attention_map(random),
        attention_sample=np.stack([attention_map(random).values for _ in range(8)]),
        positions=75,
        methods=[method(name, tfs, filters, seed=2 + k) for k, name in enumerate(methods)],
        known_pairs=known if truth else None,
        evaluation=evaluation if truth else {"truth": None, "reason": "no truth"},
        records=[
            {"stage": stage, "elapsed_s": 12.3 * k, "peak_rss_bytes": 2**30, "device": "cpu", "world_size": 1,
             "digest": "0123456789abcdef" * 4, "finished": "2026-01-01T00:00:00+00:00", "versions": versions, "seed": 1,
             "sources": {}, "summary": {"warnings": []}}
            for k, stage in enumerate(stages)
        ],
        settings="seed = 1\n\n[model]\narchitecture = \"deep\"\n",
        max_logos=max_logos,
    )  # fmt: skip
