from __future__ import annotations

import re

import pytest

from collector.explain import MESSAGES, find_messages
from linktrail.codes import CODES
from tests.explain.quotes import QUOTES
from tests.stores import FIXTURES

REFERENCE = FIXTURES.parent / "reference"


@pytest.mark.parametrize(("incident", "text", "code"), QUOTES, ids=[f"{incident} {text[:40]}" for incident, text, _ in QUOTES])
def test_every_quoted_text_is_explained(incident: str, text: str, code: str | None) -> None:
    """The likeliest code comes first; a text that means no damage has none."""
    del incident
    (match,) = find_messages(f"Nov 23 16:00:00 node1 crio[77]: level=error msg={text!r}")
    if code is None:
        assert match.message.codes == ()
    else:
        assert match.message.codes[0] == code


def test_the_quotes_are_those_of_the_reference() -> None:
    """Each text stands in the collected incidents or experiments, so that none is made up."""
    if not REFERENCE.is_dir():
        pytest.skip("needs the reference beside the checkout (../shared/reference)")
    words = " ".join(_plain((REFERENCE / name).read_text(encoding="utf-8")) for name in ("incidents.md", "storage-formats.md"))
    strange = [text for _, text, _ in QUOTES if _plain(text) not in words]
    assert strange == []


def _plain(text: str) -> str:
    return re.sub(r"[\s`\"*]+", " ", text).strip().lower()


def test_rows_are_well_formed() -> None:
    """Names are unique, codes exist, there is a way to confirm, and every row is the answer to something."""
    assert len({message.name for message in MESSAGES}) == len(MESSAGES)
    for message in MESSAGES:
        assert set(message.codes) <= CODES.keys()
        assert message.confirm
        assert message.meaning.endswith(".")
        assert message.step.endswith(".")
        assert message.incidents


def test_ordinary_lines_mean_nothing() -> None:
    """Engines say much that is no error."""
    lines = (
        'level=info msg="Loading containers: done."',
        'time=2026-11-23T16:00:00Z level=warning msg="Your kernel does not support swap limit"',
        "Pulled image: registry.k8s.io/pause:3.9",
        "Removed container 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "overlay2: the backing xfs filesystem is formatted without d_type support",
    )
    assert find_messages("\n".join(lines)) == []


def test_a_log_is_folded() -> None:
    """The same message about the same thing is one match with a count; about another it is another."""
    place = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/{}/fs"
    line = f"failed to stat parent: stat {place}: no such file or directory"
    first, second = find_messages("\n".join([line.format(112), "all is well", line.format(112), line.format(7)]))
    assert (first.count, first.number, first.ids, first.root) == (2, 1, ("112",), "/var/lib/containerd")
    assert (second.count, second.number, second.ids) == (1, 4, ("7",))
    assert find_messages("x" * 10_000_000 + line) == [], "a line has an end"
