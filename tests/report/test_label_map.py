"""Which labels carry an interaction: the table, the picture, names that are no names, and where there is nothing."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd

from satori_hpc.interactions.differential import COLUMNS
from satori_hpc.report import page as report_page
from satori_hpc.report.figures import pairs
from tests.fixtures import report

HOSTILE = "</script><script>window.x=1</script>$x$"


def by_label(names: list[str], *, against: str = "") -> pd.DataFrame:
    """Three filter pairs, two of the same TFs; the last pair and the first label were too few to test."""
    rows = []
    for pair, (a, b, tf_a, tf_b) in enumerate([(0, 3, "ARNT", "GATA3"), (1, 3, "ARNT", "GATA3"), (2, 5, "", HOSTILE)]):
        for number, name in enumerate(names):
            tested = pair < 2 or number > 0
            q = 1e-6 * 50 ** (3 * number + pair) if tested else np.nan
            rows.append(
                {
                    "label": name, "against": against, "filter_a": a, "filter_b": b, "tf_a": tf_a, "tf_b": tf_b,
                    "n_with": 40, "n_without": 60, "tested": tested, "median_with": 0.2, "median_without": 0.1,
                    "auc": 0.5 + 0.1 * (1 - number) if tested else np.nan, "p": q / 9, "neg_log10_p": -np.log10(q / 9),
                    "q": min(q, 1.0), "differs": q <= 0.05,
                }
            )  # fmt: skip
    assert set(rows[0]) == set(COLUMNS)
    return pd.DataFrame(rows).sort_values("q", kind="stable").reset_index(drop=True)


def page_of(table: pd.DataFrame) -> str:
    data = report.report_data()
    return report_page.render(
        dataclasses.replace(data, methods=[dataclasses.replace(data.methods[0], differential=table)])
    )


def table_of(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data-labels-0">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])


def test_the_page_has_every_test_and_names_stay_text():
    page = page_of(by_label(["10", "2", HOSTILE]))
    shown = table_of(page)
    assert [column["label"] for column in shown["columns"]][:6] == [
        "label", "against", "filter A", "TF A", "filter B", "TF B"
    ]  # fmt: skip
    assert len(shown["rows"]) == shown["total"] == 8
    assert shown["rows"][0][:6] == ["10", "", 0, "ARNT", 3, "GATA3"]
    assert sum(shown["called"]) == 2
    assert {row[0] for row in shown["rows"]} == {"10", "2", HOSTILE}
    assert "Interactions by label" in page
    assert "in 2 of 8 tests with and without differ" in page
    assert "<script>window" not in page
    assert "&lt;script&gt;window" in page  # in the picture
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_picture_has_a_row_per_pair_of_filters_and_labels_in_order():
    auc = pairs.strongest(by_label(["10", "2", "b"]))
    assert list(auc.index)[:2] == ["ARNT – GATA3 (0, 3)", "ARNT – GATA3 (1, 3)"]
    assert list(auc.columns) == ["b", "2", "10"]
    assert auc.loc["ARNT – GATA3 (1, 3)", "10"] == 0.6
    assert np.isnan(auc.iloc[2]["10"])
    many = pairs.strongest(by_label([str(number) for number in range(60)]))
    assert list(many.columns) == [str(number) for number in range(pairs.SHOWN_LABELS)]


def test_one_group_is_told_without_a_picture_and_no_test_in_words():
    page = page_of(by_label(["a,b"], against="c"))
    assert table_of(page)["rows"][0][:2] == ["a,b", "c"]
    assert "Heat map of" not in page.replace("Heat map of attention", "")
    nothing = by_label(["a", "b"]).assign(tested=False, differs=False)
    page = page_of(nothing)
    assert "No called filter pair has enough examples with and without a label" in page
    assert "data-labels-0" not in page
    assert "Interactions by label" not in report_page.render(report.report_data())
