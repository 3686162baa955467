"""The page opened in Chromium: start it, open a page, wait, read the logs, point and pick."""

import json
import shutil
import time

import pytest

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9",
]  # fmt: skip


def start(profile):
    """Chromium with no way out to the network; skips where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium with its chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    return webdriver.Chrome(options=options, service=service)


def wait(browser, script, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = browser.execute_script(f"return {script}")
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"still not true after {seconds} s: {script}")


def open_page(browser, path, width=1280, theme="light"):
    """Open the page at a width and in a theme; the logs of what came before are thrown away."""
    phone = width < 600
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": phone}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": scheme})
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(path.as_uri())
    wait(browser, "document.documentElement.getAttribute('data-ready')")


def requests(browser):
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    failed = [m["params"] for m in messages if m["method"] == "Network.loadingFailed"]
    return [entry["request"]["url"] for entry in asked], failed


def cell(browser, layer, position):
    return browser.find_element(
        "css selector", f'#heatmap td[data-layer="{layer}"][data-position="{position}"]'
    )


def pick(browser, what, value):
    """Choose a document or a rank, as a reader does."""
    browser.execute_script(
        "const chosen = document.getElementById(arguments[0]); chosen.value = arguments[1];"
        "chosen.dispatchEvent(new Event('change'));",
        f"pick-{what}",
        value,
    )


def tip(browser):
    return wait(
        browser,
        "!document.getElementById('tip').hidden && document.getElementById('tip').innerText",
    )
