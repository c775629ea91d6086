"""Random and mutated input for all that is parsed; the corpus is what engines really wrote."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.links import LinkKind, LinkState
from collector.stores.containers_storage import layout
from collector.stores.containers_storage.attribution import owners
from collector.stores.containers_storage.metadata import File, Metadata
from collector.stores.containers_storage.record_links import record_links
from collector.stores.containers_storage.records import read_table
from collector.stores.overlay.layers import kind_of_file
from tests.containers_storage.made import CREATED, Made, layer_id, small, survey
from tests.stores import FIXTURES, unpack

LAYER = {"id": "a" * 64, "names": ["c1-layer"], "parent": "b" * 64, "created": CREATED, "diff-digest": "sha256:1", "diff-size": 5,
         "compressed-size": 3, "flags": {"incomplete": True}, "big-data-names": ["x"], "uidset": [0]}  # fmt: skip
IMAGE = {"id": "c" * 64, "digest": "sha256:2", "names": ["localhost/a:1"], "names-history": ["b"], "layer": "a" * 64,
         "mapped-layers": ["d" * 64], "big-data-names": ["manifest"], "big-data-sizes": {"manifest": 3},
         "big-data-digests": {"manifest": "sha256:3"}, "created": CREATED, "metadata": "{}"}  # fmt: skip
CRIO = {"pod-name": "k8s_p_n_u_0", "pod-id": "e" * 64, "name": "k8s_POD_p_n_u_0", "metadata-name": "p", "uid": "u", "namespace": "n"}
CONTAINER = {"id": "e" * 64, "names": ["c1"], "image": "c" * 64, "layer": "a" * 64, "created": CREATED,
             "metadata": json.dumps(CRIO), "flags": {"MountLabel": ""}}  # fmt: skip
ENTRIES: dict[str, dict[str, Any]] = {
    layout.LAYERS_JSON: LAYER,
    layout.VOLATILE_LAYERS_JSON: LAYER,
    layout.IMAGES_JSON: IMAGE,
    layout.CONTAINERS_JSON: CONTAINER,
    layout.VOLATILE_CONTAINERS_JSON: CONTAINER,
}
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, -1, 1.5, 1 << 70, "", "x", "\ud800", "\x00", "../..", [], [1], ["x", None], {}, {"x": 1}, [[[]]], "y" * 5000]
)
FIELDS = st.sampled_from([*LAYER, *IMAGE])
WILD = st.recursive(ODD, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4), max_leaves=8)


def check(path: str, data: bytes) -> None:
    """Read ``data`` as the file ``path`` and hold every record and link of it to its type."""
    table = read_table(path, data)
    assert len({record.id for record in table.records}) == len(table.records)
    seen = Metadata.of({path: File(table=table)})
    owned = owners(seen.layers.values(), seen.images.values(), seen.containers.values())
    for link in record_links(seen, owned, frozenset()):
        assert link.subject
        assert link.layer_id is None or isinstance(link.layer_id, str)
        for text in (link.subject, link.path, link.target or "", link.detail_json() or ""):
            text.encode("utf-8")
        json.dumps(dict(link.detail), allow_nan=False)
        for name in ("names", "names_history", "big_data_names"):
            assert all(type(item) is str for item in link.detail.get(name, []))
        for name in ("diff_size", "compressed_size", "attempt"):
            assert -(1 << 63) <= link.detail.get(name, 0) < 1 << 63
    if not table.faults:
        strict = json.loads(data)
        assert len(table.records) == len(strict or [])


@pytest.mark.parametrize("path", ENTRIES)
@given(data=st.data())
@settings(max_examples=60)
def test_metadata_with_fields_replaced(path: str, data: st.DataObject) -> None:
    """Any value in any field of any entry."""
    entries: list[Any] = [dict(ENTRIES[path], id=f"{number:064x}") for number in range(3)]
    for field in data.draw(st.lists(st.sampled_from(list(ENTRIES[path])), max_size=4)):
        entries[data.draw(st.integers(0, 2))][field] = data.draw(WILD)
    if data.draw(st.booleans()):
        entries[data.draw(st.integers(0, 2))] = data.draw(WILD)
    check(path, json.dumps(entries).encode())


@pytest.mark.parametrize("path", ENTRIES)
@given(data=st.data())
@settings(max_examples=60)
def test_metadata_with_bytes_replaced(path: str, data: st.DataObject) -> None:
    """Cut, spliced, overwritten, doubled."""
    text = json.dumps([dict(ENTRIES[path], id=f"{number:064x}") for number in range(3)]).encode()
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 40)))
        text = text[:start] + data.draw(st.binary(max_size=8) | st.sampled_from([b'"', b"\\", b"[" * 70, b"NaN", b"1e999"])) + text[end:]
    check(path, text)


@pytest.mark.parametrize("path", ENTRIES)
@given(data=st.binary(max_size=200))
@settings(max_examples=40)
def test_metadata_of_garbage(path: str, data: bytes) -> None:
    """No structure at all."""
    check(path, data)


@pytest.mark.parametrize("name", ["cs-podman43-leaky", "cs-podman54-healthy"])
def test_metadata_of_real_engines_cut_anywhere(name: str, tmp_path: Path) -> None:
    """Every real file, cut at a few hundred places: a crash may cut it anywhere."""
    if not FIXTURES.is_dir():
        pytest.skip("needs the shared fixtures beside the checkout")
    root = unpack(name, tmp_path)
    for path in layout.METADATA_FILES:
        whole = (root / path).read_bytes() if (root / path).exists() else b""
        for end in range(0, len(whole), max(1, len(whole) // 60)):
            check(path, whole[:end])


TEXT = st.one_of(
    st.binary(max_size=60),
    st.text("AZ27l/.:\n", max_size=60).map(str.encode),
    st.sampled_from(
        [b"A" * 26, b"A" * 26 + b"\n", b"../" + b"a" * 64 + b"/diff", b"l/" + b"B" * 26 + b":l/" + b"C" * 26, b"l", b"l:l", b""]
    ),
)


@pytest.fixture(scope="module")
def store() -> Any:
    """One store for all examples: each replaces the same files."""
    with tempfile.TemporaryDirectory() as where:
        yield small(Path(where) / "s")


@given(text=TEXT, file=st.sampled_from(list(layout.LINK_FORMS)))
@settings(max_examples=80)
def test_link_files_of_any_bytes(store: Made, text: bytes, file: str) -> None:
    """The bytes come back as they are; present means the exact form, empty means empty."""
    path = store.root / "overlay" / layer_id(1) / file
    path.write_bytes(text)
    try:
        found = survey(store.root)
    finally:
        path.unlink()
    (link,) = [link for link in found.links.values() if link.path == f"overlay/{layer_id(1)}/{file}"]
    assert link.kind is kind_of_file(file)
    assert os.fsencode(link.target or "") == text
    assert (link.state is LinkState.EMPTY) == (text == b"")
    if link.state is LinkState.PRESENT:
        assert b"\n" not in text
        parts = text.split(b":")
        assert all(part for part in parts)
        if file != "lower-layers":
            assert all(len(part) == (26 if file == "link" else 28) for part in parts)


@given(
    name=st.binary(min_size=1, max_size=40).filter(lambda raw: b"/" not in raw and b"\0" not in raw and raw not in (b".", b"..")),
    target=TEXT,
)
@settings(max_examples=80)
def test_short_links_of_any_name_and_target(store: Made, name: bytes, target: bytes) -> None:
    """Name and target come back as they are; a layer is named only by the one good form."""
    if b"\0" in target or not target:
        return
    path = store.root / "overlay/l" / os.fsdecode(name)
    if path.is_symlink():
        return
    path.symlink_to(os.fsdecode(target))
    try:
        found = survey(store.root)
    finally:
        path.unlink()
    (link,) = [link for link in found.of_kind(LinkKind.SHORT_LINK) if os.fsencode(link.subject) == name]
    assert os.fsencode(link.target or "") == target
    assert link.layer_id is None or target == os.fsencode(f"../{link.layer_id}/diff")
    assert link.state in (LinkState.PRESENT, LinkState.MALFORMED)
    assert link.state is LinkState.MALFORMED or (link.layer_id is not None and len(name) == 26)
