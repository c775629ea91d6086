"""Big data of images and containers: content of the recorded size that is not the recorded content."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from collector.check import run_check
from collector.stores.containers_storage.layout import data_file_name
from linktrail.testing.clock import FakeClock
from tests.containers_storage.made import Made
from tests.needs import need
from tests.stores import archived, unpack

CONFIG = b'{"architecture":"amd64"}'
MANIFEST = b'{"schemaVersion":2}'


def digest(data: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of ``data``."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def codes(root: Path, *, contents: bool = True) -> list[tuple[str, str]]:
    """Return what a check finds of modified data."""
    report = run_check([root], contents=contents, min_age=0, clock=FakeClock(), configurations=())
    assert report.errors == []
    return [(finding.code, finding.subject) for _, finding in report.findings if finding.code.endswith("-data-modified")]


def store(root: Path, items: dict[str, bytes], digests: dict[str, str]) -> tuple[Made, str]:
    """Make a store with one image of these items."""
    made = Made(root)
    fields: dict[str, Any] = {
        "big-data-names": list(items),
        "big-data-sizes": {item: len(data) for item, data in items.items()},
        "big-data-digests": digests,
    }
    image = made.image("localhost/app:1", made.layer(), **fields)
    made.save()
    where = root / "overlay-images" / image
    where.mkdir()
    for item, data in items.items():
        (where / data_file_name(item)).write_bytes(data)
    return made, image


@pytest.mark.parametrize("recorded", [True, False], ids=["digest recorded", "digest in the name"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_content_of_the_same_size(tmp_path: Path, algorithm: str, *, recorded: bool) -> None:
    """Only --contents sees it; the finding names item and both digests."""
    item = digest(CONFIG, algorithm)
    digests = {item: item, "manifest": digest(MANIFEST)} if recorded else {}
    made, image = store(tmp_path / "s", {item: CONFIG, "manifest": MANIFEST}, digests)
    assert codes(made.root) == []
    file = made.root / "overlay-images" / image / data_file_name(item)
    other = CONFIG.replace(b"amd64", b"arm64")
    file.write_bytes(other)
    assert codes(made.root, contents=False) == []
    assert codes(made.root) == [("image-data-modified", image)]
    report = run_check([made.root], contents=True, min_age=0, clock=FakeClock(), configurations=())
    (finding,) = [finding for _, finding in report.findings if finding.code == "image-data-modified"]
    assert finding.evidence == {"items": {item: {"recorded": item, "found": digest(other, algorithm)}}, "count": 1}
    file.write_bytes(other + b" ")
    assert codes(made.root) == [("image-data-modified", image)], "another size is told once"


def test_signed_manifests_have_a_digest_of_their_own(tmp_path: Path) -> None:
    """The digest of a signed manifest of schema 1 is that of what was signed, not of the file."""
    signed = json.dumps({"schemaVersion": 1, "signatures": [{}]}).encode()
    made, _ = store(tmp_path / "s", {"manifest": signed}, {"manifest": digest(b"what was signed")})
    assert codes(made.root) == []


@pytest.mark.parametrize("name", ["cs-podman43-healthy", "cs-podman54-healthy"])
def test_real_images(name: str, tmp_path: Path) -> None:
    """Every item of podman's own images has its recorded digest, and one changed byte is seen in each of them."""
    if not archived(name):
        need("fixtures")
    root = unpack(name, tmp_path)
    assert codes(root) == []
    records = json.loads((root / "overlay-images/images.json").read_bytes())
    changed = 0
    for record in records:
        for item in record["big-data-names"]:
            file = root / "overlay-images" / record["id"] / data_file_name(item)
            data = file.read_bytes()
            if not data:
                continue
            file.write_bytes(bytes([data[0] ^ 1]) + data[1:])
            assert codes(root) == [("image-data-modified", record["id"])]
            file.write_bytes(data)
            changed += 1
        if changed > 3:
            break
    assert changed >= 3
