"""A real headless Chromium of one test: its own profile, no network but loopback and files, its console kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

SCREENS = Path(__file__).resolve().parent.parent.parent / "build" / "screens"
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


@contextmanager
def browser(profile: Path, *, width: int = 1200, height: int = 1000, dark: bool = False) -> Iterator[Chrome]:
    """Yield a browser; ``dark`` as on a machine whose person prefers that."""
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*_FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=ChromeService("/usr/bin/chromedriver"))
    try:
        if dark:
            features = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
        yield driver
    finally:
        driver.quit()


def complaints(driver: Chrome) -> list[str]:
    """Return what the console says that is worse than information."""
    console: Any = driver  # this one method has no types
    return [entry["message"] for entry in console.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]


def screenshot(driver: Chrome, name: str) -> Path:
    """Keep a picture of the page below build/screens, for people to look at."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    file = SCREENS / f"{name}.png"
    assert driver.save_screenshot(str(file))
    return file


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    """Wait until ``condition`` holds; raises ``AssertionError`` naming ``what``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)
