"""The section on known interactions: figures in words, and hostile names as text."""

import dataclasses

import pandas as pd

from satori_hpc.evaluation.known_tables import COLUMNS
from satori_hpc.report import page as report_page
from satori_hpc.report import words
from tests.fixtures import report

FIGURES = {"tested": 1200, "called": 40, "known": 60, "both": 9, "precision": 0.225, "base_rate": 0.05, "fold": 4.5,
           "odds_ratio": 6.25, "odds_low": 2.5, "odds_high": 14.0, "p": 0.00012, "p_permuted": 0.001}  # fmt: skip
NOTHING = {**dict.fromkeys(FIGURES, 0), "fold": None, "odds_ratio": None, "odds_low": None, "odds_high": None, "p": 1}
HOSTILE = "<script>window.hacked=3</script>"


def report_data(*, directed=False, shared=FIGURES, missing=()):
    data = report.report_data(truth=False)
    table = {
        "table": "hippie.txt", "format": "HIPPIE", "directed": directed, "rows": 1000, "used": 990, "genes": 345,
        "excluded_records": {"a gene with itself": 10}, "found": ["SPI1", HOSTILE], "missing": list(missing),
        "methods": {"attention": {"not_in_table": 0, "not_in_table_called": 0, "direct": FIGURES, "shared": shared}},
    }  # fmt: skip
    evaluation = {
        "truth": None,
        "reason": "",
        "known": {"permutations": 1000, "composites": "parts", "tables": [table]},
    }
    row = dict.fromkeys(COLUMNS, HOSTILE) | {"q": 0.01, "line": float("nan")}
    method = dataclasses.replace(data.methods[0], known=pd.DataFrame([row]))
    return dataclasses.replace(data, evaluation=evaluation, methods=[method])


def test_the_figures_of_a_table():
    (part,) = words.parts(report_data(missing=["ARNT"]))
    assert part.title == "hippie.txt (HIPPIE)"
    assert "990 of 1,000 rows used; 10 excluded: a gene with itself. 345 genes" in part.note
    assert "2 of the 3 TFs that name a filter. Not in the table: ARNT." in part.note
    line = part.lines[0]
    assert (line.method, line.reading, line.called, line.known) == (
        "attention",
        "listed as partners",
        "9 of 40",
        "60 of 1,200",
    )
    assert (line.precision, line.base_rate, line.fold, line.p, line.p_permuted) == (
        "0.225",
        "0.050",
        "4.50",
        "0.00012",
        "0.001",
    )
    assert line.odds == "6.25 (2.50 to 14.00)"
    assert words.parts(report_data(directed=True))[0].lines[1].reading == "a common target"


def test_figures_that_are_not_defined():
    line = words.parts(report_data(shared=NOTHING))[0].lines[1]
    assert (line.precision, line.fold, line.odds) == ("–", "", "–")
    line = words.parts(report_data(shared={**FIGURES, "odds_ratio": None, "odds_high": None}))[0].lines[1]
    assert line.odds == "∞ (2.50 to ∞)"


def test_a_long_list_of_missing_names_is_cut():
    (part,) = words.parts(report_data(missing=[f"TF{number}" for number in range(100)]))
    assert part.note.endswith("TF59 and 40 more.")


def test_the_page_with_a_table_and_without():
    page = report_page.render(report_data(missing=[HOSTILE]))
    assert page.count('id="known"') == 1
    assert HOSTILE not in page
    assert "hippie.txt lists 9 of the 40 pairs called by attention" in page
    assert 'id="data-support-0"' in page
    without = report_page.render(report.report_data())
    assert 'id="known"' not in without
    assert "data-support" not in without
