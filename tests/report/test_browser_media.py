"""Pictures and recordings on the page in a real browser: seen, pointed at, on a phone, on paper."""

import pytest

from satlens.report.page import write_page
from tests.report.chromium import open_page, pick, requests, tip, wait
from tests.report.example import make_heatmap
from tests.report.example_media import make_cards, make_frames, make_kind, make_wave

pytestmark = pytest.mark.browser

LAYERS = 12
TRAP = "<img src=x onerror=document.title='taken'>{}{}.jpg"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """One page a kind: pictures, single answers to recordings, frames, and speech."""
    folder = tmp_path_factory.mktemp("pages")
    speech = [entry | {"wave": make_wave(seconds=11.0, read=8.0), "text": "a source"}
              for entry in make_heatmap(LAYERS, positions=20)]  # fmt: skip
    made = {
        "images": (make_kind("image", "class token"), make_cards(name=TRAP)),
        "words": (make_kind("recording", "position"), make_cards(10, heard=True)),
        "frames": (make_kind("recording", "frame", tokens=40), make_frames(100)),
        "speech": (make_kind("recording", "token", tokens=20), speech),
    }
    return {kind: write_page(*what, folder / f"{kind}.html") for kind, what in made.items()}


def count(browser, selector):
    return len(browser.find_elements("css selector", f"#heatmap {selector}"))


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["images", "words", "frames", "speech"])
def test_it_draws_without_an_error_a_request_or_a_sideways_scroll(
    browser, pages, kind, width, theme
):
    open_page(browser, pages[kind], width, theme)
    assert browser.get_log("browser") == []
    asked, failed = requests(browser)
    own = (pages[kind].as_uri(), "data:", "blob:")
    assert asked and not failed and not [url for url in asked if not url.startswith(own)]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    cards = browser.execute_script(
        "return [...document.querySelectorAll('.card')].map((c) => {const r = c.getBoundingClientRect();"
        "return [r.left, r.right, c.scrollWidth - c.clientWidth];})"
    )
    assert len(cards) == {"images": 12, "words": 10}.get(kind, 0)
    assert all(left >= 0 and right <= width and inside <= 0 for left, right, inside in cards)


def test_every_picture_is_decoded_and_large_enough_to_see(browser, pages):
    for width in (390, 1280):
        open_page(browser, pages["images"], width)
        seen = browser.execute_script(
            "return [...document.querySelectorAll('#heatmap img')].map((i) => [i.complete, i.naturalWidth,"
            "i.getBoundingClientRect().width, getComputedStyle(i).imageRendering])"
        )
        assert seen == [[True, 32, 96, "pixelated"]] * 12


def test_a_file_name_is_only_text(browser, pages):
    open_page(browser, pages["images"])
    assert browser.title == "tiny: satlens audit"
    names = [name.text for name in browser.find_elements("css selector", ".card .name")]
    assert names[0] == TRAP.format("0", "0") and len(set(names)) == 12
    assert browser.find_element("css selector", "#heatmap img").get_attribute("alt") == names[0]
    assert count(browser, "img") == 12


def test_a_card_says_what_was_said_after_each_layer_and_from_where_it_was_fixed(browser, pages):
    open_page(browser, pages["images"])
    cards, last = make_cards(), LAYERS - 1
    for rank in (0, 3):
        pick(browser, "rank", rank)
        said = browser.execute_script(
            "return [...document.querySelectorAll('#heatmap td')].map((c) => [Number(c.dataset.document),"
            "Number(c.dataset.layer), c.cellIndex, c.className.split(' '), c.textContent]);"
        )
        assert len(said) == 12 * LAYERS * 6
        for doc, layer, column, names, text in said:
            followed = rank if column == 1 else column - 2
            from_layer = cards[doc]["layer"][0][followed]
            assert ("fixed" in names or "censored" in names) == (layer >= from_layer)
            assert ("start" in names) == (layer == from_layer != last)
            assert ("censored" in names) == (layer == from_layer == last)
            if column == 1:
                assert text == cards[doc]["top"][0][layer][rank].split(",")[0]
        answers = [one.text for one in browser.find_elements("css selector", ".card .answer")]
        for doc, answer in enumerate(answers):
            start = cards[doc]["layer"][0][rank]
            where = "fixed only at the output" if start == last else f"fixed from layer {start}"
            assert answer.split("\n")[-1].strip() == where


def test_pointing_at_a_row_shows_the_whole_ranking_with_full_names(browser, pages):
    from selenium.webdriver.common.action_chains import ActionChains

    open_page(browser, pages["images"])
    browser.execute_script("document.getElementById('tokens').scrollIntoView()")
    cell = browser.find_element("css selector", 'td.said[data-document="1"][data-layer="3"]')
    ActionChains(browser).move_to_element(cell).perform()
    words = tip(browser)
    assert words.startswith("layer 3, ") and TRAP.format("1", "1") in words
    for label in make_cards()[1]["top"][0][3]:
        assert label in words


def test_a_tap_shows_it_on_a_phone(browser, pages):
    open_page(browser, pages["words"], 390)
    browser.execute_script(
        'const cell = document.querySelector(\'td.mark[data-document="4"][data-layer="5"]\');'
        "cell.scrollIntoView({ block: 'center' });"
    )
    wait(browser, "scrollY > 0")
    browser.find_element("css selector", 'td.mark[data-document="4"][data-layer="5"]').click()
    assert "layer 5, class1/004.jpg" in tip(browser)
    box = browser.execute_script(
        "return document.getElementById('tip').getBoundingClientRect().toJSON()"
    )
    assert box["left"] >= 0 and box["right"] <= 390


def test_arrow_keys_go_from_layer_to_layer_and_from_card_to_card(browser, pages):
    from selenium.webdriver.common.keys import Keys

    open_page(browser, pages["words"])
    heatmap = browser.find_element("id", "heatmap")
    for key in (
        Keys.ARROW_DOWN,
        Keys.ARROW_DOWN,
        Keys.ARROW_RIGHT,
        Keys.ARROW_RIGHT,
        Keys.ARROW_LEFT,
    ):
        heatmap.send_keys(key)
        tip(browser)
    wait(browser, "document.getElementById('tip').innerText.includes('layer 10, class1/001.jpg')")
    assert count(browser, ".here") == 1
    heatmap.send_keys(Keys.ESCAPE)
    wait(browser, "document.getElementById('tip').hidden")


def paths(browser):
    """Points, width and height of every waveform."""
    return browser.execute_script(
        "return [...document.querySelectorAll('#heatmap svg path')].map((p) => {"
        "const box = p.getBoundingClientRect();"
        "return [p.getAttribute('d').split('L').length, box.width, box.height];})"
    )


@pytest.mark.parametrize("width", [390, 1280])
def test_every_waveform_is_drawn_with_its_time(browser, pages, width):
    open_page(browser, pages["words"], width)
    drawn = paths(browser)
    assert len(drawn) == 10
    assert all(points == 600 and w > 200 and 10 < h <= 60 for points, w, h in drawn)
    ticks = [
        one.text for one in browser.find_elements("css selector", ".card:first-child .time span")
    ]
    assert ticks == ["0 s", "0.5", "1", "1.5"]


def test_what_the_model_did_not_read_is_shown_as_such(browser, pages):
    open_page(browser, pages["speech"])
    wave, unread = browser.execute_script(
        "return ['.wave svg', '.unread'].map((s) =>"
        "document.querySelector(s).getBoundingClientRect().toJSON())"
    )
    assert (unread["left"] - wave["left"]) / wave["width"] == pytest.approx(8 / 11, abs=0.01)
    assert unread["right"] == pytest.approx(wave["right"], abs=1.5)
    above = browser.find_element("css selector", "#heatmap .media").text
    assert "Read: the first 8 of 11 s." in above and "a source" in above
    assert count(browser, "table") == 1 and count(browser, "td[data-layer]") == 20 * LAYERS


def test_frames_and_waveform_share_their_columns(browser, pages):
    open_page(browser, pages["frames"])
    strip, first, end = browser.execute_script(
        "return ['td.strip svg', 'td[data-position=\"0\"]', 'td[data-position=\"99\"]']"
        ".map((s) => document.querySelector(`#heatmap ${s}`).getBoundingClientRect().toJSON())"
    )
    assert strip["left"] == pytest.approx(first["left"], abs=1.5)
    assert strip["right"] == pytest.approx(end["right"], abs=1.5)
    middle = browser.execute_script(
        "const box = document.querySelector('td[data-position=\"50\"]').getBoundingClientRect();"
        "return box.left"
    )
    assert (middle - strip["left"]) / strip["width"] == pytest.approx(0.5, abs=0.005)
    heads = [
        one.get_attribute("textContent") for one in browser.find_elements("css selector", "th bdi")
    ]
    assert heads[:3] == ["0.00", "0.02", "0.04"]
    pick(browser, "document", 1)
    cell = browser.find_element("css selector", '#heatmap td[data-layer="11"][data-position="2"]')
    browser.execute_script("arguments[0].click()", cell)
    assert tip(browser).startswith("layer 11, frame 2, at 0.04 s")


def test_paper_holds_every_part_of_a_waveform(browser, pages):
    open_page(browser, pages["frames"], theme="dark")
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    wait(browser, "document.querySelectorAll('#heatmap table').length === 9")
    points = [points for points, _, _ in paths(browser)]
    assert points == [2 * 5 * 12] * 8 + [2 * 5 * 4]
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    wait(browser, "document.querySelectorAll('#heatmap table').length === 1")
    open_page(browser, pages["images"], theme="dark")
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert count(browser, ".card") == 12
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.get_log("browser") == []
