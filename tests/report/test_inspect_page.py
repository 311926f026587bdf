"""The page of one sequence as text: what stands in it, what is escaped, how letters and maps are drawn."""

import dataclasses
import re

import numpy as np
import pytest

from satori_hpc.report import inspect_page
from satori_hpc.report.data import Site, SiteMap
from satori_hpc.report.figures import attention, logos
from tests.fixtures import report
from tests.fixtures.inspect import inspected


@pytest.fixture(scope="module")
def page():
    return inspect_page.page(inspected())


def test_every_part_is_there_and_linked(page):
    for section in ("letters", "epistasis", "dfim", "attention", "attribution"):
        assert page.count(f'<h2 id="{section}">') == 1
        assert f'href="#{section}"' in page
    assert page.count('class="letters"') == 3  # 300 letters
    assert page.count("<figure>") == 4
    assert "7.npz" in page


def test_nothing_is_fetched_and_nothing_runs(page):
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page)
    assert not re.findall(r"url\((?!#|data:)", page)
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert "script-src" not in page  # so that default-src forbids them all


def test_ids_are_unique_and_references_lead_somewhere(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for target in re.findall(r'(?:href="|url\()#([^")]+)', page):
        assert target in ids


def test_hostile_names_stay_text():
    data = inspected(names=(*report.HOSTILE, "CTCF"), title=report.HOSTILE[0])
    data = dataclasses.replace(
        data, example=report.HOSTILE[1], explained=report.HOSTILE[2], facts=[("label", "<b>x</b>")]
    )
    page = inspect_page.page(data)
    assert "<script>window" not in page
    assert "<img" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;window.hacked=1" in page
    assert "&lt;/script&gt;&lt;img src=x" in page


def test_without_pairs_of_sites_the_page_says_so():
    one = SiteMap(sites=[Site(3, "CTCF", 13)], values=np.full((1, 1), np.nan, dtype=np.float32))
    whole = inspected()
    page = inspect_page.page(dataclasses.replace(whole, maps={**whole.maps, "dfim": one, "epistasis": one}))
    assert page.count("No two sites of this sequence form a pair.") == 2
    assert page.count("<figure>") == 2
    none = SiteMap(sites=[], values=np.zeros((0, 0), dtype=np.float32))
    page = inspect_page.page(dataclasses.replace(whole, maps={**whole.maps, "dfim": none, "epistasis": none}))
    assert page.count("No two sites of this sequence form a pair.") == 2


def heights(text):
    """(x, top, height) of every letter of a row."""
    found = re.findall(r'#letter-[ACGT]" transform="translate\((\S+) (\S+)\) scale\(\S+ (\S+)\)', text)
    return np.array(found, dtype=float)


def test_letters_are_as_high_as_their_values_and_hang_when_negative():
    tokens = np.array([0, 1, 2, 3, 4, 0], dtype=np.uint8)
    values = np.array([2.0, -1.0, 0.0, 1.0, 5.0, 0.001], dtype=np.float32)
    values[4] = 3.0  # an unknown letter: it sets the scale and has no shape
    (row,) = logos.rows(tokens, values, [])
    found = heights(row)
    scale = logos.LETTERS_HEIGHT / 4  # from 3 to -1
    assert found[:, 2] == pytest.approx([2 * scale, scale, scale])
    line = logos.TOP + 3 * scale
    assert found[:, 1] == pytest.approx([line - 2 * scale, line, line - scale], abs=0.01)
    assert re.findall("letter-([ACGT])", row) == ["A", "C", "T"]


def test_rows_share_one_scale_and_number_their_letters():
    values = np.zeros(250, dtype=np.float32)
    values[[10, 110, 210]] = 1.0, 0.5, -1.0
    rows = logos.rows(np.zeros(250, dtype=np.uint8), values, [])
    assert len(rows) == 3
    assert [heights(row)[0, 2] for row in rows] == pytest.approx([48, 24, 48])
    assert [heights(row)[0, 0] for row in rows] == pytest.approx([logos.LEFT + 10 * logos.LETTER + 0.3] * 3, abs=0.06)
    assert ">200<" in rows[2]
    assert ">250<" not in rows[2]


def test_a_site_over_the_end_of_a_row_is_shaded_in_both_and_named_once():
    zeros = np.zeros(200, dtype=np.uint8)
    rows = logos.rows(zeros, zeros.astype(np.float32), [Site(95, "A&B", 13)])
    widths = [[float(w) for w in re.findall(r'<rect[^>]* width="(\S+)"', row)] for row in rows]
    assert widths == [[pytest.approx(5 * logos.LETTER, abs=0.06)], [pytest.approx(8 * logos.LETTER, abs=0.06)]]
    assert ["A&amp;B" in row for row in rows] == [True, False]


def test_strongest_pairs_come_first_and_unordered_ones_once():
    sites = [Site(0, "A", 13), Site(20, "B", 13), Site(40, "C", 13)]
    values = np.array([[np.nan, 1, -3], [1, np.nan, np.nan], [-3, np.nan, np.nan]], dtype=np.float32)
    map_ = SiteMap(sites=sites, values=values)
    assert attention.strongest(map_, most=9, ordered=False) == [(sites[0], sites[2], -3.0), (sites[0], sites[1], 1.0)]
    assert len(attention.strongest(map_, most=9, ordered=True)) == 4
    assert attention.strongest(map_, most=1, ordered=True) == [(sites[0], sites[2], -3.0)]


def test_the_page_is_the_same_twice_and_small(page):
    assert inspect_page.page(inspected()) == page
    assert len(page) < 2e6


def test_a_long_sequence_stays_small():
    page = inspect_page.page(inspected(length=1500, names=tuple(f"TF{i}" for i in range(60))))
    assert page.count('class="letters"') == 15
    assert len(page) < 4e6
