"""The Dockerfile's own steps, run without an engine: what it copies, and what it runs, into empty directories."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.places import DEPLOY, ROOT
from tests.needs import in_ci
from tests.stores import unpack

DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
TARGETS = ("collector", "processor")
EXTRAS = {"collector": ["kafka", "metrics"], "processor": ["all"]}
NOT_FOR_A_COLLECTOR = {"deltalake", "duckdb", "jinja2", "matplotlib", "numpy", "starlette", "uvicorn", "prompt-toolkit"}
LARGEST_MIB = {"collector": 190, "processor": 650}


class Built(NamedTuple):
    """The environment that an image has at /opt/linktrail."""

    path: Path

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the program as the entry point does, with nothing of the tests' environment."""
        return subprocess.run(
            [self.path / "bin" / "linktrail", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={"PATH": "/usr/bin:/bin", "HOME": "/", "LC_ALL": "C.UTF-8"},
            cwd="/",
        )

    def imports(self, module: str) -> bool:
        """Tell whether ``module`` is there."""
        code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
        return subprocess.run([self.path / "bin" / "python", "-I", "-c", code], check=False).returncode == 0

    def mebibytes(self) -> float:
        """What it takes on disk."""
        return sum(path.lstat().st_size for path in self.path.rglob("*") if path.is_file() and not path.is_symlink()) / 2**20


def copy_context(where: Path) -> None:
    """Copy what stage ``source`` copies, and nothing else."""
    where.mkdir(parents=True)
    for words in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        *sources, target = words.split()
        for source in sources:
            goal = where / target / Path(source).name if target.endswith("/") else where / target
            goal.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, goal, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / source, goal)


def build(target: str, where: Path) -> Built:
    """Run the RUN line of ``target`` in the copied context, with another place for /opt/linktrail."""
    [line] = re.findall(rf"^FROM source AS {target}-files\nRUN (.+)$", DOCKERFILE, re.MULTILINE)
    copy_context(where / "src")
    words = [word.replace("/opt/linktrail", str(where / "opt")) for word in line.split()]
    done = subprocess.run(words, cwd=where / "src", capture_output=True, text=True, check=False, timeout=400)
    if done.returncode and not in_ci() and re.search("NewConnectionError|Temporary failure|Network is unreachable", done.stderr):
        pytest.skip("needs a package index to install from")
    assert done.returncode == 0, done.stderr
    return Built(where / "opt")


@pytest.mark.timeout(900)
def test_both_images_are_installed_and_run(tmp_path: Path) -> None:
    """One test, because installing takes long: both programs run from their own installation, are what they should be, and no larger."""
    built = {target: build(target, tmp_path / target) for target in TARGETS}
    _record(tmp_path, built["collector"], built["processor"])
    absent = {name.replace("-", "_") for name in NOT_FOR_A_COLLECTOR}
    assert not {name for name in absent if built["collector"].imports(name)}, "a collector carries no query engine"
    assert not {name for name in absent if not built["processor"].imports(name)}
    for target, one in built.items():
        assert not one.imports("pip")
        assert one.mebibytes() < LARGEST_MIB[target], one.mebibytes()
    assert _files(built["collector"]) == _files(built["processor"]), "two builds of one tree differ"


def _record(tmp_path: Path, collector: Built, processor: Built) -> None:
    """The collector records a damaged store, the processor commits it and answers."""
    store = unpack("e09_orphan_driver_dir", tmp_path)
    state = tmp_path / "state"
    collected = collector.run("collect", store, "--state", state, "--once", "--min-age", "0", "--proc", "off", "--node", "n1")
    assert collected.returncode == 0, collected.stderr
    processed = processor.run("process", "--state", state, "--drain")
    assert processed.returncode == 0, processed.stderr
    asked = processor.run("findings", "--lake", state / "lake", "--json")
    assert asked.returncode in (0, 3), asked.stderr
    assert "unaccounted-layer" in asked.stdout


def _files(built: Built) -> list[str]:
    """Return name and digest of every file of linktrail's own wheel, as its RECORD has them."""
    lines = next((built.path / "lib").rglob("linktrail-*.dist-info/RECORD")).read_text().splitlines()
    assert any(line.startswith("linktrail/topics.yaml,sha256=") for line in lines)
    return sorted(line for line in lines if "direct_url" not in line and "../" not in line)


def locked(target: str) -> dict[str, tuple[str, str]]:
    """Return version and remark of every package in a lock."""
    text = (DEPLOY / f"requirements-{target}.lock").read_text()
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text, "a lock names no index"
    return {entry.partition("==")[0]: (re.split(r"[ ;\\]", entry.partition("==")[2])[0], entry) for entry in entries}


def declared(extras: list[str]) -> list[Requirement]:
    """Return the requirements of pyproject.toml with these extras, extras of our own unfolded."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found, waiting = [Requirement(line) for line in project["dependencies"]], list(extras)
    while waiting:
        for line in project["optional-dependencies"][waiting.pop()]:
            one = Requirement(line)
            if one.name == "linktrail":
                waiting.extend(one.extras)
            else:
                found.append(one)
    return found


@pytest.mark.parametrize("target", TARGETS)
def test_a_lock_is_what_pyproject_declares(target: str) -> None:
    """Each declared package is locked in a declared version, and nothing is locked as ours that is not declared (else: make lock)."""
    lock, wanted = locked(target), declared(EXTRAS[target])
    for one in wanted:
        version, _ = lock[canonicalize_name(one.name)]
        assert one.specifier.contains(version), f"{one} is locked as {version}: make lock"
    ours = {name for name, (_, entry) in lock.items() if re.search(r"#\s+(via )?linktrail \(pyproject\.toml\)", entry)}
    assert ours == {canonicalize_name(one.name) for one in wanted}, "make lock"


def test_the_base_is_pinned_and_nothing_runs_beside_the_locks() -> None:
    """One base, by full version; the only RUN lines are the two installations; neither image runs as an unnamed user."""
    assert re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE) == ["python:3.13.9-slim-trixie"]
    assert {line.split()[1] for line in DOCKERFILE.splitlines() if line.startswith("FROM")} == {"${BASE}", "source"}
    assert re.findall(r"^RUN (.+)$", DOCKERFILE, re.MULTILINE) == [f"sh deploy/install.sh {target} /opt/linktrail" for target in TARGETS]
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["0:0", "65532:65532"]


@pytest.mark.parametrize("words", [["nonsense", "x"], ["collector", "."]])
def test_a_wrong_call_of_the_installer_is_one_clear_error(words: list[str]) -> None:
    """Before anything is made."""
    done = subprocess.run(["sh", "deploy/install.sh", *words], cwd=ROOT, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 2
    assert done.stderr.startswith("install.sh: ")
    assert done.stderr.count("\n") == 1
