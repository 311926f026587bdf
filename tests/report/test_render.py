"""The page as text: what stands in it, what is escaped, what is left out."""

import base64
import dataclasses
import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest

from satori_hpc.config.prepare import DESIGNS
from satori_hpc.report import page as report_page
from satori_hpc.report import tables, words
from satori_hpc.report.data import FilterMotif, Performance, ReportData
from satori_hpc.report.figures import attention, logos, network, pairs
from satori_hpc.report.figures.attention import thin_marks
from satori_hpc.training import metrics
from tests.fixtures import report


@pytest.fixture(scope="module")
def data():
    return report.report_data()


@pytest.fixture(scope="module")
def page(data):
    return report_page.render(data)


def test_every_section_is_there_and_linked(page):
    for section in ("interactions-0", "evaluation", "yardsticks", "model", "motifs", "attention", "provenance"):
        assert page.count(f'id="{section}"') == 1
        assert f'<li><a href="#{section}">' in page


def test_nothing_is_fetched_and_only_our_script_may_run(page):
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page)
    assert "@import" not in page
    assert not re.findall(r"url\((?!#|data:)", page)
    scripts = re.findall(r"<script(?![^>]*json)[^>]*>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page


def test_ids_are_unique(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    repeated = {name for name in ids if ids.count(name) > 1}
    assert not repeated
    for target in re.findall(r'(?:href="|url\()#([^")]+)', page):
        assert target in ids


def test_the_page_is_small_and_the_same_twice(page, data):
    assert len(page) < 8e6
    assert report_page.render(data) == page


def test_the_figures_are_those_given(page):
    assert "30,000 simulated sequences of 300 bp" in page
    assert ">0.48<" in page.replace("\n", "")
    assert "AUPR 0.48, chance 0.24" in page
    assert "above the 0.39 that calling every pair reaches" in page
    assert "co-occurrence of motif hits, no network" in page


ALL = ("attention", "attribution", "dfim", "epistasis")


@pytest.fixture(scope="module")
def several():
    return report.report_data(methods=ALL)


@pytest.fixture(scope="module")
def several_page(several):
    return report_page.render(several)


def lines_of(page, caption):
    """The cells of every body row of a plain table, without markup."""
    body = re.search(rf"{caption}</caption>.*?<tbody>(.*?)</tbody>", page, re.DOTALL).group(1)
    rows = re.findall(r"<tr.*?</tr>", body, re.DOTALL)
    return [[re.sub("<.*?>", "", cell).strip() for cell in re.findall(r"<t[dh].*?</t[dh]>", row)] for row in rows]


def test_several_methods_stand_side_by_side(several, several_page):
    for number, name in enumerate(ALL):
        assert several_page.count(f'id="interactions-{number}"') == 1
        assert f"Interactions: {name}</a></h2>" in several_page
    rows = lines_of(several_page, "What each method tested and called")
    assert [row[0] for row in rows[:4]] == list(ALL)
    assert [row[1] for row in rows[:4]] == ["against background"] * 2 + ["within sequences", "minimum effect"]
    for row, method in zip(rows, several.methods, strict=False):
        assert int(row[2].replace(",", "")) == method.filter_pairs["tested"].sum()
        assert int(row[4]) == method.tf_pairs["called"].sum()
    assert [row[8] for row in rows] == ["0.48", "0.58", "0.68", "0.78", "0.30", "0.24"]
    assert "co-occurrence" in rows[4][0]
    assert rows[5][5] == "0.24"  # the base rate is the precision of calling every pair, and the AUPR by chance
    assert several_page.count("The simulation implanted") == 1
    # the figure of the evaluation holds a curve for each
    legend = several_page[several_page.index('id="evaluation"') :]
    assert all(f">{name}</text>" in legend for name in (*ALL, "co-occurrence"))


def test_each_method_says_what_it_is_and_what_it_is_compared_with(several_page):
    parts = re.split(r'<h2 id="interactions-\d">', several_page)[1:]
    for part, score, call in zip(
        parts,
        (
            "largest attention",
            "integrated gradients over attention",
            "attribution of one filter",
            "joint contribution of",
        ),
        ("in the background", "in the background", "signed-rank", "signed-rank"),
        strict=True,
    ):
        explanation = part[: part.index("<h3>")]
        assert score in explanation
        assert call in explanation
        assert ("signed-rank" in explanation) != ("Mann-Whitney" in explanation)
    assert "twice the steps change attributions by 1.2 %" in parts[2]
    assert "twice the steps" not in parts[3]


def test_agreement_counts_shared_calls(several, several_page):
    called = [
        {(a, b) for a, b, flag in m.tf_pairs[["tf_a", "tf_b", "called"]].itertuples(index=False) if flag}
        for m in several.methods
    ]
    rows = lines_of(several_page, "Called TF pairs shared by methods")
    for first, row in enumerate(rows):
        assert row[0] == ALL[first]
        for second, cell in enumerate(row[1:]):
            both = len(called[first] & called[second])
            jaccard = both / len(called[first] | called[second])
            assert cell == (str(both) if first == second else f"{both} ({jaccard:.2f})")
    found = words.agreement(several.methods)
    assert found.total == len(set.intersection(*called)) > 0
    assert f"Called by every method: {found.everywhere[0]}" in several_page
    assert words.agreement(several.methods[:1]) is None


def test_methods_that_call_nothing_agree_on_nothing(several):
    silent = [dataclasses.replace(m, tf_pairs=m.tf_pairs.assign(called=False)) for m in several.methods[:2]]
    found = words.agreement(silent)
    assert found.shared == [[(0, None)] * 2] * 2
    page = report_page.render(ReportData(title="Silence", methods=silent))
    assert "No TF pair is called by both." in page


def test_several_methods_without_a_truth_and_with_hostile_names():
    tfs = (*report.HOSTILE, *report.TFS[:4])
    page = report_page.render(report.report_data(truth=False, tfs=tfs, filters=24, methods=ALL[2:]))
    assert "<script>window" not in page
    assert "<img src=x" not in page
    rows = lines_of(page, "What each method tested and called")
    assert [len(row) for row in rows] == [5, 5]
    assert 'id="evaluation"' not in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_of_several_methods_the_lead_tells_the_order(several):
    said = " ".join(words.lead(several))
    assert "epistasis 0.78, dfim 0.68, attribution 0.58, attention 0.48" in said
    assert "The F1 of epistasis, dfim, attribution and attention exceeds the 0.39" in said
    evaluation = json.loads(json.dumps(several.evaluation))
    for scores in evaluation["methods"].values():
        scores["f1"] = 0.1
    assert "No method's F1 exceeds the 0.39" in " ".join(
        words.lead(dataclasses.replace(several, evaluation=evaluation))
    )


def test_signed_scores_have_an_axis_with_both_sides():
    assert attention._signed_ticks(0.03, 150.0) == [-10.0, -0.1, 0.0, 0.1, 10.0]
    assert attention._signed_ticks(0.5, 0.7) == [0.0]
    sample = np.full((1, 3, 3), 1 / 3)
    method = report.method("epistasis", report.TFS, 24)
    assert (method.foreground < 0).any()
    svg = attention.distribution(sample, 3, [method])
    assert re.search(r">−1\d*<", svg)
    for nothing in ({"background": np.zeros(0)}, {"foreground": np.zeros(5), "background": np.zeros(5)}):
        only = dataclasses.replace(method, **nothing)  # nothing to compare: no panel
        assert "pair score" not in attention.distribution(sample, 3, [only])


def test_zeros_count_in_the_curves_of_the_pair_scores_and_their_share_is_told():
    values = np.concatenate([np.zeros(25), np.linspace(0.1, 1, 75)])
    at, share = attention.cumulative(values, signed=False)
    assert (at[0], share[0]) == (0.1, 0.25)  # no logarithm of 0: the curve begins above the zeros
    assert (at[-1], share[-1]) == (1.0, 1.0)
    middle = np.interp(0.5, at, share)
    assert middle == pytest.approx((values <= 0.5).mean(), abs=0.01)
    assert attention.cumulative(np.array([-1.0, 0.0, 1.0]), signed=True)[1][0] == 0
    assert [len(part) for part in attention.cumulative(np.zeros(3), signed=False)] == [0, 0]
    method = dataclasses.replace(report.method("attention", report.TFS, 24), foreground=values)
    sample = np.full((1, 3, 3), 1 / 3)
    assert "foreground (25.0 % are 0)" in attention.distribution(sample, 3, [method])
    data = ReportData(title="Zeros", attention_sample=sample, positions=3, methods=[method])
    assert "in the foreground (25.0 % are 0)" in report_page.render(data)
    rare = dataclasses.replace(method, background=np.zeros(9))  # a side of zeros is compared, too
    assert "background (100.0 % are 0)" in attention.distribution(sample, 3, [rare])


def test_warnings_stand_before_everything_else_and_stay_text(data):
    hostile = report.HOSTILE[0]
    records = [dict(record, summary={"warnings": []}) for record in data.records]
    records[1]["summary"] = {"warnings": ["validation AUROC near 0.5", f"label {hostile}"]}
    page = report_page.render(dataclasses.replace(data, records=records))
    block = page[page.index('<div class="warnings"') : page.index('<dl class="tiles">')]
    assert "2 warnings: read these before the results" in block
    assert "<b>train:</b> validation AUROC near 0.5" in block
    assert "<script>window" not in page
    assert 'class="warnings"' not in report_page.render(data)


def test_absent_parts_leave_no_trace():
    page = report_page.render(ReportData(title="Empty"))
    assert "<h1>Empty</h1>" in page
    assert "<section" not in page
    assert "<figure" not in page
    assert "<nav" not in page


@pytest.mark.parametrize(
    ("section", "parts"),
    [
        ("interactions-0", ["methods"]),
        ("evaluation", ["evaluation"]),
        ("yardsticks", ["yardsticks"]),
        ("model", ["performance"]),
        ("model", ["training"]),
        ("motifs", ["motifs"]),
        ("attention", ["attention_map"]),
        ("attention", ["attention_sample", "positions"]),
        ("provenance", ["records"]),
        ("provenance", ["settings"]),
    ],
)
def test_each_part_stands_alone(data, section, parts):
    without = dict(data.evaluation)
    yardsticks = {"truth": None, "yardsticks": without.pop("yardsticks")}
    whole = {**vars(data), "evaluation": without, "yardsticks": yardsticks}
    named = {"evaluation" if part == "yardsticks" else part: whole[part] for part in parts}
    page = report_page.render(ReportData(title="Part", **named))
    assert page.count("<section") == 1
    assert f'id="{section}"' in page
    assert f'href="#{section}"' in page


def test_real_data_has_no_evaluation_and_no_implanted_column():
    page = report_page.render(report.report_data(truth=False))
    assert 'id="evaluation"' not in page
    assert "implanted" not in page


def test_nothing_called(data):
    method = data.methods[0]
    method = dataclasses.replace(
        method,
        filter_pairs=method.filter_pairs.assign(called=False),
        tf_pairs=method.tf_pairs.assign(called=False),
        distances=[],
    )
    evaluation = json.loads(json.dumps(data.evaluation))
    evaluation["methods"]["attention"].update(called=0, precision=0.0, recall=0.0, f1=0.0, nothing_called=True)
    page = report_page.render(dataclasses.replace(data, methods=[method], evaluation=evaluation))
    assert "No pair of two different TFs is called." in page
    assert "network-0" not in page
    assert "It calls nothing" in page


def test_no_test_at_all(data):
    method = data.methods[0]
    empty = dataclasses.replace(
        method, filter_pairs=method.filter_pairs.iloc[:0], tf_pairs=method.tf_pairs.iloc[:0], distances=[]
    )
    page = report_page.render(dataclasses.replace(data, methods=[empty]))
    assert "could be tested" in page
    assert 'class="datatable"' not in page


def test_hostile_names_stay_text():
    tfs = (*report.HOSTILE, *report.TFS[:4])
    page = report_page.render(report.report_data(tfs=tfs, title=report.HOSTILE[1], filters=24))
    assert "<script>window" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;window.hacked=1" in page  # logos and figures
    assert "\\u003cscript\\u003ewindow.hacked=1" in page  # tables


def test_embedded_json_survives_and_cannot_close_its_element():
    value = {"name": "</script><!--&\u2028'\"", "q": 1e-300}
    text = tables.embed(value)
    assert "<" not in text
    assert "&" not in text
    assert "\u2028" not in text
    assert json.loads(text) == value
    with pytest.raises(ValueError, match="JSON compliant"):
        tables.embed(float("nan"))


def test_tables_are_sorted_capped_and_without_nan(data):
    table = data.methods[0].filter_pairs.copy()
    table.loc[table.index[0], "median_distance"] = np.nan
    content = tables.filter_table(table, max_rows=50)
    q = [row[4] for row in content["rows"]]
    assert len(q) == 50
    assert q == sorted(q)
    assert content["total"] == table["tested"].sum()
    assert content["rows"][0][11] is None
    known = tables.tf_table(data.methods[0].tf_pairs, data.known_pairs, max_rows=500)
    flagged = {tuple(sorted((row[0].lower(), row[1].lower()))) for row in known["rows"] if row[-1]}
    assert flagged == data.known_pairs & {tuple(sorted((r[0].lower(), r[1].lower()))) for r in known["rows"]}


def test_logo_letters_are_as_high_as_their_information():
    ppm = np.array([[1.0, 0, 0, 0], [0.25] * 4, [0.5, 0, 0.5, 0]])
    text = logos.logo(ppm, "x")
    heights = [float(value) for value in re.findall(r"scale\(\S+ (\S+)\)", text)]
    # column 1: one A of two bits; column 2: nothing; column 3: A and G of half a bit each
    assert heights == pytest.approx([logos.HEIGHT, logos.HEIGHT / 4, logos.HEIGHT / 4], abs=0.01)


def test_a_known_motif_stands_aligned_below_its_filter_with_its_figures(data):
    filter_ppm, known = np.eye(4)[[0, 1, 2, 3]], np.eye(4)[[3, 0, 1]]  # ACGT; TAC begins one column before it
    one = FilterMotif(number=7, ppm=filter_ppm, sites=20, tf="<TF>", motif_id="MA1", named=True, p=1e-9, q=2e-6,
                      chance=0.017, bits=6.0, match=known, offset=1)  # fmt: skip
    itself = FilterMotif(number=8, ppm=filter_ppm, sites=30, tf="OTHER", motif_id="MA2", named=True)
    page = report_page.render(dataclasses.replace(data, motifs=[one, itself]))
    drawn = re.findall(r'<svg class="logo".*?</svg>', page)
    assert len(drawn) == 3
    assert len({re.search(r'viewBox="(.*?)"', svg)[1] for svg in drawn[:2]}) == 1
    first = [re.findall(r'letter-(.)" transform="translate\((\S+) ', svg) for svg in drawn]
    place = [{float(x): letter for letter, x in letters} for letters in first]
    shared = place[0].keys() & place[1].keys()
    assert {place[0][x] for x in shared} == {place[1][x] for x in shared} == {"A", "C"}
    assert all(place[0][x] == place[1][x] for x in shared)
    rows = lines_of(page, "Filters and the known motifs that they match best")
    assert rows[0][:2] == ["7", "&lt;TF&gt;MA1"]
    assert rows[0][3:] == ["1.0e-09", "2.0e-06", "0.02", "6.0", "20"]
    assert rows[1][3:] == ["–", "–", "–", "–", "30"]


def test_network_layout_separates_nodes_and_is_the_same_twice():
    edges = np.array([(0, 1), (1, 2), (2, 0), (3, 4)])
    places = network.layout(6, edges)
    assert np.array_equal(places, network.layout(6, edges))
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)[np.triu_indices(6, 1)]
    assert distance.min() > 0.08
    assert places.min() >= 0
    assert places.max() <= 1
    assert np.isfinite(network.layout(2, np.array([(0, 1)]))).all()


def test_marks_of_one_place_become_one_label():
    assert thin_marks([(1, "A"), (1, "B"), (1, "A"), (30, "C")], 100) == [(1, "A / B"), (30, "C")]


def test_q_too_small_for_a_number_has_a_place():
    strength = np.array([400.0, 350.0, 20.0, 1.0])
    p = 10.0**-strength
    table = pd.DataFrame({"neg_log10_p": strength, "q": np.minimum(p * 4 / np.array([1, 2, 3, 4]), 1)})
    assert table["q"].tolist()[:2] == [0.0, 0.0]
    expected = strength - np.log10(4 / np.array([1, 2, 3, 4]))
    assert pairs.minus_log10_q(table) == pytest.approx(expected)


@pytest.mark.parametrize("targets", [5, 40])
def test_many_labels_have_one_figure_and_single_class_labels_none(targets):
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, (200, targets)).astype(np.uint8)
    labels[:, 0] = 0  # has no AUROC
    probability = (labels * 0.3 + random.random((200, targets)) * 0.7).astype(np.float32)
    auroc, aupr = metrics.by_label(labels, probability)
    performance = Performance(targets=[f"tissue <{i}>" for i in range(targets)], auroc=auroc, aupr=aupr)
    page = report_page.render(ReportData(title="Labels", performance=performance))
    assert f"mean test AUROC of {targets - 1} labels" in page
    assert "tissue <" not in page
    assert ("tissue &lt;1&gt;" in page) == (targets == 5)  # bars have names, a histogram has not


def test_the_page_says_what_tells_the_classes_apart(data):
    for design, expected in (("hard", "alone predict much"), ("hard-matched", "only in which motifs occur together")):
        said = words.lead(dataclasses.replace(data, facts=dataclasses.replace(data.facts, design=design)))
        assert expected in said[0]
    said = words.lead(dataclasses.replace(data, facts=dataclasses.replace(data.facts, design="published")))
    assert "negatives" not in said[0]
    assert set(words.DESIGNS) == set(DESIGNS) - {"published"}


def test_spacings_are_drawn_with_what_the_tests_say():
    data = report.report_data()
    page = report_page.render(data)
    assert page.count("Spacing against the background") == 1
    assert "ARNT – GATA3, spacing q = 0.0005, helical phase q = 0.03" in page
    untested = dataclasses.replace(data.methods[0].spacings[0], q={"order": 0.4})
    assert pairs.told(untested, 1.0) == "order q = 0.4"
    assert pairs.told(untested, 0.05) == "like the background"
    nothing = dataclasses.replace(data, methods=[dataclasses.replace(data.methods[0], spacings=[])])
    assert "Spacing against the background" not in report_page.render(nothing)
