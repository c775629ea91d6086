"""Files read entry by entry say what they say read whole, whatever stands in them and in whatever order they come."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.stores.containers_storage.entries import DOCUMENTS, Entries
from collector.stores.containers_storage.layout import LAYERS_JSON, METADATA_FILES
from collector.stores.containers_storage.records import read_table

_TEXTS = st.sampled_from(["a", "b", "c", "", '","x":1},{"id":"d', '{"id":"', "\\", "é\x00"]) | st.text(max_size=5)
_ENTRIES = st.fixed_dictionaries(
    {"id": _TEXTS},
    optional={
        "names": st.lists(_TEXTS, max_size=2),
        "parent": _TEXTS,
        "layer": _TEXTS,
        "metadata": _TEXTS,
        "uidmap": st.lists(st.fixed_dictionaries({"id": _TEXTS}), max_size=3),
        "big-data-names": _TEXTS | st.none(),
    },
)
_DOCUMENTS = st.lists(_ENTRIES, max_size=5)


def engine(entries: list[Any]) -> bytes:
    """Return a list as Go writes it: without white space, the id first."""
    return json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(METADATA_FILES), _DOCUMENTS), max_size=8))
def test_the_same_as_read_whole(documents: list[tuple[str, list[Any]]]) -> None:
    """Hostile texts, entries within entries, repeated ids, wrong types: every version in a row."""
    entries = Entries()
    for path, document in documents:
        data = engine(document)
        assert entries.table(path, data) == read_table(path, data)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no property of it
@given(_DOCUMENTS, st.data())
def test_the_same_when_it_is_cut_or_mangled(document: list[Any], data: st.DataObject) -> None:
    """A version that a crash cut short, or with bytes of garbage in it, after one that was whole."""
    entries = Entries()
    whole = engine(document)
    entries.table(LAYERS_JSON, whole)
    begin, end = sorted(data.draw(st.tuples(st.integers(0, len(whole)), st.integers(0, len(whole)))))
    for mangled in (whole[:end], whole[begin:], whole[:begin] + data.draw(st.binary(max_size=6)) + whole[end:], whole + b"\n"):
        assert entries.table(LAYERS_JSON, mangled) == read_table(LAYERS_JSON, mangled)


def test_what_was_met_before_is_not_parsed_again() -> None:
    """One entry of a thousand changes, moves or goes: one is parsed, or none; and so it stays when stores take turns."""
    entries = Entries()
    layers = [{"id": f"{number:064x}", "names": [f"n{number}"]} for number in range(1000)]
    entries.table(LAYERS_JSON, engine(layers))
    assert entries.decoded == 1000
    layers[500]["names"] = ["other"]
    entries.table(LAYERS_JSON, engine(layers))
    assert entries.decoded == 1001
    entries.table(LAYERS_JSON, engine([*layers[600:], *layers[:600]]))
    entries.table(LAYERS_JSON, engine(layers[:-1]))
    assert entries.decoded == 1001
    for number in range(DOCUMENTS - 1):
        entries.table(LAYERS_JSON, engine([{"id": f"elsewhere-{number}"}]))
    entries.table(LAYERS_JSON, engine(layers[:-1]))
    assert entries.decoded == 1001 + DOCUMENTS - 1
