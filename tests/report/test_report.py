"""The postmortem: its sections in order, its numbers from the record, judgement left blank, and nothing hostile alive in it."""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from linktrail.command import main
from queries.engine import open_lake
from queries.report.gather import Gathered, gather
from queries.report.layer_graph import MOST_LAYERS, layer_graph
from queries.report.render import BLANK, SECTIONS, write_report
from tests.browser.driver import browser, complaints, screenshot
from tests.needs import need
from tests.queries.golden import check_golden
from tests.queries.lakes import at
from tests.queries.story import LEAKED
from tests.report.hostile import HOSTILE_TIME, write_hostile

WHEN = (at(30), at(2700))


def gathered(lake: Path, after: int = WHEN[0], before: int = WHEN[1]) -> Gathered:
    """Ask everything about the story."""
    with open_lake(lake) as engine:
        return gather(engine, after, before, now=at(3700))


@pytest.fixture(scope="module")
def report(story: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the story."""
    directory = tmp_path_factory.mktemp("report")
    write_report(gathered(story), directory)
    return directory


def test_the_markdown_is_as_it_was(report: Path) -> None:
    """Pinned, but for the hashes of the files of this one lake."""
    text, _, inputs = (report / "report.md").read_text(encoding="utf-8").partition("These files of the lake, by SHA-256:")
    check_golden("report.md", text)
    assert len(re.findall(r"\| [0-9a-f]{64} \|", inputs)) == 8


def test_sections_stand_in_the_usual_order(report: Path) -> None:
    """In both forms, and what takes judgement is visibly empty in each section that does."""
    text = (report / "report.md").read_text(encoding="utf-8")
    assert tuple(re.findall(r"^## (.*)$", text, re.MULTILINE)) == SECTIONS
    page = (report / "report.html").read_text(encoding="utf-8")
    assert tuple(re.findall(r"<h2 [^>]*>(.*)</h2>", page)) == SECTIONS
    assert text.count(BLANK) == page.count(BLANK) == 11


def test_the_numbers_are_those_of_the_record(story: Path) -> None:
    """Peak, end, nodes, pods, what opened; and the trigger is what happened to the layer before it leaked."""
    found = gathered(story)
    assert (found.peak_bytes, found.end_bytes, found.nodes, found.affected_pods) == (12_000_000, 12_000_000, ["n1"], ["jobs/worker-0"])
    assert [(row["code"], row["bytes"]) for row in found.held] == [("unaccounted-layer", 9_000_000), ("unaccounted-layer", 12_000_000)]
    later = gathered(story, at(2800), at(3500))
    assert [row["bytes"] for row in later.held] == [12_000_000, 0]
    assert later.end_bytes == 0


def test_inputs_are_the_files_of_the_lake(story: Path) -> None:
    """Each by the hash that anybody can compute again."""
    found = gathered(story)
    assert {one.path for one in found.inputs} == {str(path.relative_to(story)) for path in story.rglob("*.parquet")}
    one = found.inputs[0]
    assert hashlib.sha256((story / one.path).read_bytes()).hexdigest() == one.sha256


def test_a_quiet_time_has_a_report_too(story: Path, tmp_path: Path) -> None:
    """Nothing found, nothing changed: it says so."""
    write_report(gathered(story, at(3300), at(3400)), tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "No finding was opened" in text
    assert "No finding was open." in text
    for name in ("held", "growth", "churn", "layers"):
        ET.parse(tmp_path / f"{name}.svg")  # noqa: S314 - our own


class Tags(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it."""
        self.tags.append((tag, dict(attrs)))


def test_hostile_names_are_inert_as_text(tmp_path: Path) -> None:
    """No tag, attribute or control character of a name survives in the page, the pictures or the Markdown."""
    write_report(gathered(write_hostile(tmp_path / "lake"), *HOSTILE_TIME), tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(page)
    assert {"script", "img", "b", "iframe", "object"}.isdisjoint({tag for tag, _ in tags.tags})
    assert not [attribute for _, attributes in tags.tags for attribute in attributes if attribute.startswith("on")]
    links = {attributes.get("href") for tag, attributes in tags.tags if tag == "a"}
    assert all(link is not None and link.startswith("#") for link in links)
    for file in (tmp_path / "out").iterdir():
        text = file.read_text(encoding="utf-8")
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text), file.name
        if file.suffix == ".svg":
            names = {element.tag.rpartition("}")[2] for element in ET.fromstring(text).iter()}  # noqa: S314 - our own
            assert names.isdisjoint({"script", "image", "foreignObject", "a"})
    markdown = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    outside = re.sub(r"(`+).*?(?<!`)\1(?!`)", "", markdown)  # what is not in a code span
    assert "<" not in outside
    assert "](" not in re.sub(r"!\[[\w ]+\]\(\w+\.svg\)", "", outside)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_in_a_real_browser(report: Path, tmp_path: Path, *, dark: bool) -> None:
    """No complaint on the console, four plots with something in them, and every link of the navigation leads somewhere."""
    need("chromium")
    with browser(tmp_path / "profile", dark=dark) as driver:
        driver.get((report / "report.html").as_uri())
        sizes = driver.execute_script("return [...document.querySelectorAll('figure svg')].map(e => e.getBoundingClientRect().height)")
        assert len(sizes) == 4
        assert all(size > 50 for size in sizes)
        lost = driver.execute_script("return [...document.querySelectorAll('nav a')].filter(a => !document.querySelector(a.hash)).length")
        assert lost == 0
        assert "unaccounted-layer" in driver.execute_script("return document.querySelector('figure svg').textContent")
        screenshot(driver, f"report-{'dark' if dark else 'light'}")
        assert complaints(driver) == []


def test_hostile_names_are_inert_in_a_real_browser(tmp_path: Path) -> None:
    """Nothing of them runs, and nothing is fetched."""
    need("chromium")
    write_report(gathered(write_hostile(tmp_path / "lake"), *HOSTILE_TIME), tmp_path / "out")
    with browser(tmp_path / "profile") as driver:
        driver.get((tmp_path / "out" / "report.html").as_uri())
        assert driver.execute_script("return window.hacked") is None
        assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0
        assert "<script>window.hacked=1</script>" in driver.execute_script("return document.body.innerText")
        screenshot(driver, "report-hostile")
        assert complaints(driver) == []


def test_a_graph_too_large_says_what_it_leaves_out() -> None:
    """Bounded, whatever the store."""
    rows = [
        {
            "layer_id": f"{n:064x}",
            "parent": f"{n - 1:064x}" if n > 1 else None,
            "containers": [],
            "images": [],
            "leases": [],
            "directory": "present",
        }
        | {"record": "present", "bytes": 1}
        for n in range(1, 500)
    ]
    picture = layer_graph([], rows, set())
    assert picture.count("<circle") == MOST_LAYERS + 5
    assert f"{499 - MOST_LAYERS} more layers are not drawn" in picture
    ET.fromstring(picture)  # noqa: S314 - our own


def test_the_command(story: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names what it wrote, says whether the record was complete, and refuses a time that ends before it begins."""
    words = [
        "report",
        "--lake",
        str(story),
        "--from",
        "2026-11-23T16:01:00Z",
        "--to",
        "2026-11-23T16:31:00Z",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert [Path(line).name for line in out.splitlines()] == [
        "report.md",
        "report.html",
        "held.svg",
        "growth.svg",
        "churn.svg",
        "layers.svg",
    ]
    assert err.startswith("Asking the record about 2026-11-23T16:01:00Z to 2026-11-23T16:31:00Z.")
    assert "The record is complete" in err
    assert LEAKED in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert main([*words[:3], "--from", "now", "--to", "1h ago"]) == 2
    (tmp_path / "file").touch()
    assert main([*words[:-1], str(tmp_path / "file" / "below")]) == 1
    assert "cannot be written" in capsys.readouterr().err
