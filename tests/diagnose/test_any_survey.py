"""Whatever a survey holds, a diagnosis ends, and what it says can be printed and stored."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.diagnose import examine
from collector.links import Link, LinkKind, LinkState, Problem, StoreKind, Survey
from linktrail.codes import CODES
from linktrail.text import printable
from tests.diagnose.model import CONTAINERS_JSON, IMAGES_JSON, LAYERS_JSON, NOW, identity, short_name

IDS = [identity(number) for number in range(5)]
NAMES = [*IDS, *(short_name(one) for one in IDS), "l", "", ".", "../..", "lost+found", "\udcff\x1b[2J", "a" * 300]
PATHS = [
    *(LAYERS_JSON, IMAGES_JSON, CONTAINERS_JSON, "overlay-layers/volatile-layers.json", "", "overlay", "overlay/l"),
    *(f"overlay/{one}" for one in IDS),
    *(f"overlay/{one}/{file}" for one in IDS for file in ("link", "lower", "lower-layers")),
    *(f"overlay-images/{one}" for one in IDS),
    *(f"overlay-containers/{one}/userdata/x" for one in IDS),
]
TEXTS = st.one_of(st.sampled_from(NAMES), st.lists(st.sampled_from([*NAMES, *(f"l/{name}" for name in NAMES)]), max_size=5).map(":".join))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(10**20), 10**20), TEXTS)
DETAILS: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(
        ["diff", "work", "created", "flags", "big_data", "big_data_names", "names", "engine", "layers", "error", "size", "diff_digest"]
    ),
    st.one_of(
        SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(TEXTS, st.one_of(SCALARS, st.lists(SCALARS, max_size=2)), max_size=3)
    ),
    max_size=4,
)
FACTS = st.dictionaries(
    st.sampled_from(["mtime_ns", "diff_mtime_ns", "created_ns", "size"]),
    st.one_of(st.none(), st.integers(-(10**19), 10**19), TEXTS),
    max_size=3,
)
LINKS = st.builds(
    Link,
    st.sampled_from(list(LinkKind)),
    st.sampled_from(NAMES),
    st.sampled_from(PATHS),
    st.one_of(st.none(), TEXTS),
    st.sampled_from(list(LinkState)),
    st.one_of(st.none(), st.sampled_from(NAMES)),
    detail=DETAILS,
    facts=FACTS,
)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(LINKS, max_size=40),
    st.sampled_from(list(StoreKind)),
    st.lists(st.sampled_from(PATHS), max_size=2),
    st.sampled_from([None, 0.0, 60.0]),
    st.booleans(),
)
def test_any_survey(links: list[Link], kind: StoreKind, unread: list[str], min_age: float | None, read_only: bool) -> None:
    """No exception, findings unique and complete, every word safe to print, every document and evidence JSON."""
    problems = [Problem(path, "input/output error") for path in unread]
    survey = Survey.of(kind, "/store", links, started=NOW, finished=NOW, problems=problems, read_only=read_only)
    result = examine(survey, now=NOW, min_age=min_age, additional=[survey])
    assert len({finding.key for finding in result.findings}) == len(result.findings)
    assert not {finding.key for finding in result.findings} & {item.key for item in result.withheld}
    for finding in result.findings:
        assert finding.code in CODES
        assert printable(finding.message) == finding.message
        assert printable(finding.advice) == finding.advice
        json.dumps(finding.document("/store")).encode()
        json.loads(finding.evidence_json())
        assert all(name != finding.subject for name in finding.related)
    again = examine(survey, now=NOW, min_age=min_age, additional=[survey])
    assert again == result
