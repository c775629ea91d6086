"""Fixture stores: made (and damaged) with real engines, unpacked fresh for each test that asks.

``unpack("e00_healthy", tmp_path)``, ``unpack("cs-podman43-leaky", ...)``, ``unpack("docker/00-healthy", ...)`` return the
root of the store. The small ones ship in tests/data/stores, so that a clone alone can run its tests; the others stand in
../shared/fixtures. Unpacking keeps owners and extended attributes as root, and does without them elsewhere.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE / "data" / "stores"
FIXTURES = HERE.parent.parent / "shared" / "fixtures"


def damage_names(family: str = "containers-storage") -> list[str]:
    """Return the names of the damage fixtures of one family that are at hand, sorted."""
    found = {path.name.removesuffix(".tar.gz") for base in (DATA, FIXTURES / "damage") for path in (base / family).glob("*.tar.gz")}
    return sorted(found)


def archive(name: str) -> Path:
    """Return the archive of fixture ``name``; raises ``FileNotFoundError`` naming what was looked for."""
    family, _, short = name.rpartition("/")
    families = [family] if family else ["containers-storage", "docker", "containerd"]
    candidates = [base / part / f"{short}.tar.gz" for part in families for base in (DATA, FIXTURES / "damage")]
    candidates += [FIXTURES / "engines" / f"{short}.tar.xz"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"fixture {name}: none of {', '.join(str(candidate) for candidate in candidates)}")


def archived(name: str) -> bool:
    """Tell whether fixture ``name`` ships with the tests (so that nothing else is needed)."""
    return any((DATA / family / f"{name.rpartition('/')[2]}.tar.gz").is_file() for family in ("containers-storage", "docker", "containerd"))


def unpack(name: str, where: Path) -> Path:
    """Unpack fixture ``name`` below ``where`` and return the root of the store in it."""
    source = archive(name)
    where = where / source.name.split(".")[0]
    where.mkdir(parents=True)
    command = ["tar", "-xf", str(source), "-C", str(where)]
    if os.geteuid() == 0:
        command += ["--numeric-owner", "--xattrs", "--xattrs-include=*"]
    else:
        command += ["--exclude=dev/*", "--no-same-owner"]
    subprocess.run(command, check=True, capture_output=True)
    return store_root(where)


def store_root(where: Path) -> Path:
    """Return the directory below ``where`` that is the store's root, by its structure."""
    marks = ("overlay-layers", "io.containerd.metadata.v1.bolt", "image")
    for directory, names, _ in os.walk(where):
        names.sort()  # "root" before "runroot", which has an overlay-layers of its own
        if any(mark in names for mark in marks):
            return Path(directory)
    raise FileNotFoundError(f"no store below {where}")
