"""Whole stores with one metadata file replaced by garbage: never more than findings and errors, and the rest is still reported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.check import run_check
from collector.links import LinkKind, Survey
from collector.stores import driver_for
from linktrail.testing.clock import FakeClock
from tests.fuzz.test_targets import MUTATION, mutate
from tests.needs import need
from tests.stores import archived, unpack

STORES = ("containers-storage/e00_healthy", "docker/00-healthy", "containerd/00-healthy-2images-1container")
RECORDS = (LinkKind.LAYER_RECORD, LinkKind.IMAGE_RECORD, LinkKind.CONTAINER_RECORD)
CONTENT = {"diff", "fs", "work"}
ODD = st.sampled_from(
    [
        *(b"", b"null", b"[]", b"{}", b"[null, 1]", b'[{"id": 1}]', b'"x"'),
        *(b"l", b"l/", b":", b"/", b"\0" * 4096, b"sha256:", b"9" * 40),
    ]
)


def metadata_files(root: Path) -> list[str]:
    """Return every file of a store but the content of its layers, relative to the root."""
    found = []
    for directory, _, names in os.walk(root):
        for name in names:
            path = Path(directory, name).relative_to(root)
            if Path(root, path).is_file() and not Path(root, path).is_symlink() and not CONTENT.intersection(path.parts[:-1]):
                found.append(str(path))
    return sorted(found)


def records(survey: Survey, without: str) -> set[tuple[LinkKind, str]]:
    """Return what is recorded elsewhere than in the file ``without``."""
    return {
        (link.kind, link.subject)
        for link in survey.of_kind(*RECORDS)
        if link.path.partition("#")[0] != without and not without.startswith(f"{link.path}/")
    }


@pytest.mark.parametrize("name", STORES)
def test_one_damaged_file_hides_nothing_else(name: str, tmp_path: Path) -> None:
    """Mutated, cut short, of another type: check answers, contents included, and objects recorded elsewhere are all still there."""
    if name.startswith("docker/"):
        need("root")  # some directories of this store have no permission at all
    if not archived(name):
        need("fixtures")
    root = unpack(name, tmp_path)
    driver = driver_for(root)
    assert driver is not None
    files = metadata_files(root)
    assert len(files) > 5
    before = driver.survey(root, clock=FakeClock())

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.sampled_from(files), ODD | st.lists(MUTATION, min_size=1, max_size=4), st.none() | st.integers(0, 1 << 16))
    def run(file: str, change: bytes | list[tuple[str, int, bytes, int]], cut: int | None) -> None:
        path = root / file
        sound = path.read_bytes()
        data = change if isinstance(change, bytes) else mutate(sound, change)
        try:
            path.write_bytes(data if cut is None else data[: cut % (len(data) + 1)])
            report = run_check([root], contents=True, min_age=0, clock=FakeClock(), configurations=())
            (store,) = report.stores
            assert records(before, file) <= records(store.survey, file)
            assert report.document()["schema"] == 1
        finally:
            path.write_bytes(sound)

    run()
