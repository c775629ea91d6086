"""The web pages in a real headless Chromium: no complaint on the console, plots, the keyboard, both colour schemes, hostile names."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.browser.driver import browser, complaints, screenshot, wait_until
from tests.needs import need
from tests.queries.story import LEAKED
from tests.report.hostile import SCRIPT, write_hostile
from tests.serve.server import serving

SPAN = "from=2026-11-23T16:01:00Z&to=2026-11-23T16:50:00Z"
AT = "at=2026-11-23T16:32:00Z"
PAGES = {
    "findings": f"/?{AT}",
    "thing": f"/thing?id={LEAKED}&{AT}",
    "timeline": f"/timeline?{SPAN}",
    "growth": f"/growth?{SPAN}",
    "layers": f"/layers?{SPAN}",
}


def keys(driver: Chrome, *pressed: str) -> None:
    """Press keys where the focus is."""
    ActionChains(driver).send_keys(*pressed).perform()


def focused(driver: Chrome) -> str:
    """Return the id, or the text, of what has the focus."""
    return str(driver.execute_script("return document.activeElement.id || document.activeElement.textContent.trim()"))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page(story: Path, tmp_path: Path, *, dark: bool) -> None:
    """Shown without a complaint, in the colours that the person prefers, and not wider than the window."""
    need("chromium")
    with serving(story) as server, browser(tmp_path / "profile", dark=dark) as driver:
        for name, path in PAGES.items():
            driver.get(server.url + path)
            colour = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
            assert (colour == "rgb(255, 255, 255)") is not dark
            plots = driver.execute_script(
                "return [...document.querySelectorAll('figure svg')].map(e => e.getBoundingClientRect().height > 20)"
            )
            assert all(plots)
            assert bool(plots) is (name in ("growth", "layers", "thing"))
            assert driver.execute_script("return document.documentElement.scrollWidth <= window.innerWidth"), name
            screenshot(driver, f"serve-{name}-{'dark' if dark else 'light'}")
        assert complaints(driver) == []


def test_the_keyboard_is_enough(story: Path, tmp_path: Path) -> None:
    """Skip link, search from anywhere, following a link, and SQL, without a pointer."""
    need("chromium")
    with serving(story) as server, browser(tmp_path / "profile") as driver:
        driver.get(f"{server.url}/?{AT}")
        keys(driver, Keys.TAB)
        assert focused(driver) == "Skip to content"
        keys(driver, Keys.ENTER)
        wait_until(lambda: focused(driver) == "main", "the focus on the content")
        keys(driver, "/")
        assert focused(driver) == "search"
        keys(driver, LEAKED[:8], Keys.ENTER)
        wait_until(lambda: "/thing?id=44444444" in driver.current_url, "the page of the layer")
        assert "jobs/worker-0" in driver.page_source
        for _ in range(60):
            keys(driver, Keys.TAB)
            if focused(driver) == "SQL":
                break
        keys(driver, Keys.ENTER)
        wait_until(lambda: driver.current_url.endswith("/sql"), "the page for SQL")
        for _ in range(60):
            keys(driver, Keys.TAB)
            if focused(driver) == "q":
                break
        ActionChains(driver).send_keys("SELECT 6 * 7 AS answer").key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()
        wait_until(lambda: "<td" in driver.page_source and ">42<" in driver.page_source, "the answer")
        assert "q=SELECT" in driver.current_url, "the answer has an address"
        assert complaints(driver) == []


def test_hostile_names_are_inert(tmp_path: Path) -> None:
    """Names that are markup, scripts and addresses are text on every page."""
    need("chromium")
    lake = write_hostile(tmp_path / "lake")
    span = "from=2026-11-23T15:59:00Z&to=2026-11-23T16:59:00Z"
    with serving(lake) as server, browser(tmp_path / "profile") as driver:
        for path in (
            "/?at=2026-11-23T16:30:00Z",
            f"/timeline?{span}",
            f"/growth?{span}",
            f"/layers?{span}",
            "/sql?q=SELECT+subject+FROM+findings",
        ):
            driver.get(server.url + path)
            assert driver.execute_script("return window.hacked") is None
            assert driver.execute_script("return document.querySelectorAll('main script, main img, main b').length") == 0
        assert SCRIPT in driver.execute_script("return document.body.innerText")
        driver.get(f"{server.url}/?at=2026-11-23T16:30:00Z")
        driver.find_element("link text", SCRIPT).click()
        wait_until(lambda: "/thing?" in driver.current_url, "the page of the hostile name")
        assert driver.execute_script("return window.hacked") is None
        assert SCRIPT in driver.execute_script("return document.querySelector('h1').innerText")
        driver.get(f"{server.url}/thing?id=%3Cimg+src%3Dx+onerror%3Dwindow.hacked%3D3%3E-nothing")
        assert driver.execute_script("return window.hacked") is None
        screenshot(driver, "serve-hostile")
        assert [line for line in complaints(driver) if "404" not in line] == []
