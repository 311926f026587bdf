"""The page in a real browser: tables fill, sort and search; nothing is requested; hostile names stay text."""

import shutil

import pytest

from satori_hpc.report import page
from tests.fixtures import report as fixtures_report

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not CHROMIUM or not DRIVER:
        pytest.skip("no Chromium and chromedriver on PATH")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1300,1200",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def show(browser, folder, data):
    """Open the report of `data`; returns the addresses that were requested beside the page itself."""
    import json

    path = folder / "report.html"
    path.write_text(page.render(data), encoding="utf-8")
    browser.get_log("performance")
    browser.get(path.as_uri())
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert path.as_uri() in requests  # the log does see requests
    return [url for url in requests if not url.startswith("data:") and url != path.as_uri()]


@pytest.fixture(scope="module")
def report(browser, tmp_path_factory):
    data = fixtures_report.report_data()
    requests = show(browser, tmp_path_factory.mktemp("report"), data)
    return browser, data, requests


def host(browser, number=0):
    return browser.find_elements("css selector", ".datatable")[number]


def column(table, number):
    return [cell.text for cell in table.find_elements("css selector", f"tbody td:nth-child({number + 1})")]


def click_heading(table, label):
    heads = table.find_elements("css selector", "thead th")
    head = next(head for head in heads if head.text.strip() == label)
    head.find_element("css selector", "button").click()
    return heads.index(head), head.get_attribute("aria-sort")


def test_no_script_error_and_no_request(report):
    browser, _, requests = report
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert requests == []


def test_the_log_would_show_an_error(report):
    browser, _, _ = report
    browser.execute_script("setTimeout(() => { throw new Error('on purpose') })")
    browser.execute_async_script("setTimeout(arguments[0], 50)")
    assert any("on purpose" in entry["message"] for entry in browser.get_log("browser"))


def test_the_table_holds_the_rows_in_order(report):
    browser, data, _ = report
    table = host(browser)
    expected = data.methods[0].tf_pairs.sort_values(["q", "auc"], ascending=[True, False]).head(20)
    assert column(table, 0) == expected["tf_a"].tolist()
    assert column(table, 1) == expected["tf_b"].tolist()
    assert [float(text) for text in column(table, 3)] == pytest.approx(expected["auc"].tolist(), abs=5e-4)
    called = [line.get_attribute("class") == "called" for line in table.find_elements("css selector", "tbody tr")]
    assert called == expected["called"].tolist()


def test_headings_sort_both_ways_and_numbers_as_numbers(report):
    browser, data, _ = report
    table, rows = host(browser), data.methods[0].tf_pairs
    number, order = click_heading(table, "examples")
    assert order == "descending"
    found = [int(text.replace(",", "")) for text in column(table, number)]
    assert found == sorted(rows["n_fg"], reverse=True)[:20]
    number, order = click_heading(table, "examples")
    assert order == "ascending"
    assert [int(text.replace(",", "")) for text in column(table, number)] == sorted(rows["n_fg"])[:20]
    number, order = click_heading(table, "TF A")
    assert order == "ascending"
    assert column(table, number) == sorted(rows["tf_a"], key=str.lower)[:20]
    assert len(table.find_elements("css selector", "th[aria-sort]")) == 1
    number, order = click_heading(table, "q")
    assert order == "ascending"
    found = [float(text.replace("−", "-")) for text in column(table, number)]
    assert found == pytest.approx(sorted(rows["q"])[:20], rel=0.05)


def test_headings_sort_by_keyboard(report):
    from selenium.webdriver.common.keys import Keys

    browser, data, _ = report
    table = host(browser)
    click_heading(table, "q")
    button = next(b for b in table.find_elements("css selector", "th button") if b.text == "AUC")
    browser.execute_script("arguments[0].focus()", button)
    button.send_keys(Keys.ENTER)
    expected = data.methods[0].tf_pairs["auc"].sort_values(ascending=False).head(20)
    assert [float(text) for text in column(table, 3)] == pytest.approx(expected.tolist(), abs=5e-4)


def test_search_filters_and_the_count_follows(report):
    browser, data, _ = report
    table, rows = host(browser), data.methods[0].tf_pairs
    box = table.find_element("css selector", "input[type=search]")
    box.send_keys("gata3 SP")
    matching = rows[(rows["tf_a"] == "GATA3") & rows["tf_b"].isin(["SP1", "SPI1"])]
    assert sorted(column(table, 1)) == sorted(matching["tf_b"])
    assert table.find_element("css selector", ".status").text == f"{len(matching)} of {len(rows)} rows"
    box.clear()
    box.send_keys("no such TF")
    assert column(table, 0) == []
    box.clear()
    box.send_keys(" ")
    assert len(column(table, 0)) == 20


def test_called_only(report):
    browser, data, _ = report
    table = host(browser)
    box = table.find_element("css selector", "input[type=checkbox]")
    box.click()
    called = int(data.methods[0].tf_pairs["called"].sum())
    assert table.find_element("css selector", ".status").text.startswith(f"{called} of ")
    box.click()


def test_pages_turn(report):
    browser, data, _ = report
    table = host(browser, 1)
    tested = data.methods[0].filter_pairs.query("tested")
    expected = [str(number) for number in tested["filter_a"]]
    back, following = table.find_elements("css selector", ".pager button")
    assert column(table, 0) == expected[:20]
    assert not back.is_enabled()
    following.click()
    assert column(table, 0) == expected[20:40]
    back.click()
    assert column(table, 0) == expected[:20]


def test_the_layout_holds_on_wide_and_narrow_screens(report):
    browser, _, _ = report
    for width in (1300, 600):
        browser.set_window_size(width, 1000)
        too_wide = browser.execute_script("return document.documentElement.scrollWidth > window.innerWidth")
        assert not too_wide, f"the page scrolls sideways at {width} px"
    browser.set_window_size(1300, 1200)


@pytest.mark.parametrize("policy", [True, False], ids=["with policy", "escaping alone"])
def test_hostile_names_show_as_text_and_do_not_run(browser, tmp_path, monkeypatch, policy):
    if not policy:  # the content security policy must not be what saves us
        real = page.resource
        monkeypatch.setattr(
            page,
            "resource",
            lambda name: real(name).replace("Content-Security-Policy", "Nothing") if "j2" in name else real(name),
        )
    tfs = (*fixtures_report.HOSTILE, *fixtures_report.TFS[:3])
    requests = show(browser, tmp_path, fixtures_report.report_data(tfs=tfs, title=tfs[0], filters=24))
    assert browser.execute_script("return window.hacked === undefined")
    assert browser.find_element("css selector", "h1").text == tfs[0]
    names = {*column(host(browser), 0), *column(host(browser), 1)}
    assert set(fixtures_report.HOSTILE) <= names
    assert not browser.find_elements("css selector", "img")
    assert requests == []
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
