"""The page in a real browser: it draws itself, answers to the pointer, and asks nothing of anyone."""

import pytest

from satlens.report.audit.captions import CHARTS
from satlens.report.page import SECTIONS, write_page
from tests.report.chromium import cell, open_page, pick, requests, tip, wait
from tests.report.example import HOSTILE, make_heatmap, make_results
from tests.report.example_claims import make_claims
from tests.report.example_depth import make_depth
from tests.report.example_dynamics import make_dynamics
from tests.report.example_exits import make_exits
from tests.report.example_parts import make_patch, make_probe
from tests.report.example_rerank import make_rerank
from tests.report.example_route import make_route
from tests.report.example_shortcut import make_shortcut

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page of ordinary documents and one of hostile tokens."""
    folder = tmp_path_factory.mktemp("page")
    hostile = make_heatmap(texts=HOSTILE, positions=len(HOSTILE), docs=1)
    hostile[0]["title"] = "hostile </script><script>document.title = 'taken'</script>"
    return write_page(make_results(), [*make_heatmap(docs=2), *hostile], folder / "report.html")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A page of every part."""
    path = tmp_path_factory.mktemp("whole") / "report.html"
    parts = [make_claims(), make_results(), make_probe(), make_patch(offsets=range(-5, 6)), make_shortcut(),
             make_exits(), make_rerank(), make_depth(), make_route(), make_dynamics()]  # fmt: skip
    return write_page(parts, make_heatmap(docs=2), path)


PAGES = {"page": list(CHARTS), "whole": [n for part in SECTIONS.values() for n in part.CHARTS]}


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("which", PAGES)
def test_it_draws_without_an_error_a_request_or_a_sideways_scroll(
    browser, request, which, width, theme
):
    page = request.getfixturevalue(which)
    open_page(browser, page, width, theme)
    for name in PAGES[which]:
        assert browser.execute_script(
            f"return document.querySelectorAll('[data-chart={name}] .main-svg').length"
        ), name
    assert browser.get_log("browser") == []
    asked, failed = requests(browser)
    assert asked and not failed
    assert [url for url in asked if not url.startswith((page.as_uri(), "data:", "blob:"))] == []
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (theme == "light")


def test_a_request_is_refused_by_the_page_itself(browser, page):
    open_page(browser, page)
    answer = browser.execute_async_script(
        "const done = arguments[0];"
        "fetch('https://example.org/').then(() => done('went'), () => done('refused'));"
    )
    assert answer == "refused"
    assert any(
        "Content Security Policy" in entry["message"] for entry in browser.get_log("browser")
    )


def test_pointing_at_a_cell_shows_the_ranking_there(browser, page):
    from selenium.webdriver.common.action_chains import ActionChains

    open_page(browser, page)
    document = make_heatmap(docs=2)[0]
    browser.execute_script("document.getElementById('tokens').scrollIntoView()")
    ActionChains(browser).move_to_element(cell(browser, 3, 4)).perform()
    words = tip(browser)
    assert "layer 3, position 4" in words
    for word in document["top"][4][3]:
        assert word.replace(" ", "·") in words
    box = browser.execute_script(
        "return document.getElementById('tip').getBoundingClientRect().toJSON()"
    )
    assert box["left"] >= 0 and box["right"] <= 1280 and box["bottom"] <= 900


def test_arrow_keys_move_and_escape_closes(browser, page):
    from selenium.webdriver.common.keys import Keys

    open_page(browser, page)
    heatmap = browser.find_element("id", "heatmap")
    for key in (Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_RIGHT):
        heatmap.send_keys(key)
        tip(browser)
    wait(browser, "document.getElementById('tip').innerText.includes('layer 14, position 1')")
    heatmap.send_keys(Keys.ESCAPE)
    wait(browser, "document.getElementById('tip').hidden")


def test_every_cell_is_marked_by_its_saturation_layer(browser, page):
    open_page(browser, page)
    document, last = make_heatmap(docs=2)[1], 15
    for rank in (0, 4):
        pick(browser, "document", 1)
        pick(browser, "rank", rank)
        marks = browser.execute_script(
            "return [...document.querySelectorAll('#heatmap td')].map((c) =>"
            "[Number(c.dataset.position), Number(c.dataset.layer), c.className, c.textContent]);"
        )
        assert len(marks) == 40 * 16
        for position, layer, name, text in marks:
            from_layer = document["layer"][position][rank]
            assert ("fixed" in name or "censored" in name) == (layer >= from_layer)
            assert ("start" in name) == (layer == from_layer != last)
            assert ("censored" in name) == (layer == from_layer == last)
            assert text == document["top"][position][layer][rank].replace(" ", "·").replace(
                "\n", "⏎"
            )


def test_hostile_tokens_stay_text(browser, page):
    open_page(browser, page)
    pick(browser, "document", 2)
    heads = browser.find_elements("css selector", "#heatmap thead bdi")
    texts = [head.get_attribute("textContent") for head in heads]
    assert "<script>alert(1)</script>" in texts and "\\ud800" in texts and "שלום" in texts
    assert browser.title == "tiny: satlens audit"
    assert browser.find_elements("css selector", "#heatmap script") == []
    assert browser.get_log("browser") == []


def test_it_prints_on_light_paper(browser, page):
    open_page(browser, page, theme="dark")
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    wait(browser, "document.querySelectorAll('#heatmap table').length === 4")
    paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    wait(browser, "document.querySelectorAll('#heatmap table').length === 1")
    assert browser.get_log("browser") == []


def test_one_of_everything_still_draws(browser, tmp_path):
    results = make_results(docs=1, tokens=1, n_layers=1, k=1, untrained=False, nulls=False)
    path = write_page(
        results, make_heatmap(n_layers=1, k=1, positions=1, docs=1), tmp_path / "r.html"
    )
    open_page(browser, path, 390)
    assert browser.get_log("browser") == []
    assert cell(browser, 0, 0).get_attribute("class") == "censored"


def test_the_way_through_leads_to_each_part(browser, whole):
    open_page(browser, whole, 390)
    for part in ("patch", "probe", "verdicts"):
        browser.find_element("css selector", f"nav a[href='#{part}']").click()
        wait(
            browser, f"Math.abs(document.getElementById('{part}').getBoundingClientRect().top) < 80"
        )
    bar = browser.execute_script(
        "return document.querySelector('nav').getBoundingClientRect().toJSON()"
    )
    assert abs(bar["top"]) < 2 and bar["right"] <= 390


def test_pointing_at_a_line_tells_its_numbers(browser, whole):
    open_page(browser, whole)
    browser.execute_script(
        "document.querySelector('[data-chart=patch_published]').scrollIntoView({block: 'center'});"
        "const chart = document.querySelector('[data-chart=patch_published]');"
        "const line = chart.data.findIndex((one) => one.name === 'paired donor');"
        "Plotly.Fx.hover(chart, [{curveNumber: line, pointNumber: 5}]);"
    )
    text = wait(
        browser,
        "[...document.querySelectorAll('[data-chart=patch_published] .hovertext')]"
        ".map((one) => one.textContent).join(' ')",
    )
    assert "paired donor" in text and "offset 0: 0.800" in text and "interval 0.780" in text


def test_a_probe_alone_draws_and_needs_no_heatmap(browser, tmp_path):
    path = write_page(make_probe(stages=2, n_layers=3), [], tmp_path / "r.html")
    open_page(browser, path, 390)
    assert browser.get_log("browser") == []
    assert browser.find_elements("css selector", "#heatmap, nav") == []
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.get_log("browser") == []


def test_an_old_browser_says_so_and_keeps_the_rest(browser, whole):
    script = browser.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": "delete window.DecompressionStream"}
    )
    try:
        open_page(browser, whole, 390)
        places = browser.find_elements("css selector", "[data-chart]")
        assert places and all("too old" in place.text for place in places)
        assert cell(browser, 3, 4).text
        assert browser.get_log("browser") == []
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
