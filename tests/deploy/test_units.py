"""The systemd units: well formed, as closed as they are documented to be, and running what linktrail takes."""

from __future__ import annotations

import configparser
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from linktrail.command import _BY_NAME, load
from tests.deploy.places import DEPLOY
from tests.needs import need

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
HIGHEST_EXPOSURE = {"linktrail-collector.service": 2.4, "linktrail-processor.service": 1.9}
PROGRAM = "/opt/linktrail/bin/linktrail"


def settings(unit: Path) -> configparser.SectionProxy:
    """Return the section that says how it runs; of a name that stands several times the last."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign] # names are as systemd writes them
    parser.read_string(unit.read_text())
    return parser["Service"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_systemd_takes_it(unit: Path, tmp_path: Path) -> None:
    """systemd-analyze verify, with a program that is there in place of the installed one, says nothing."""
    need("systemd-analyze")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace(PROGRAM, sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if unit.name in line or "linktrail" in line]
    assert (done.returncode, said) == (0, []), done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_exposure_is_no_more_than_documented(unit: Path) -> None:
    """systemd-analyze security, offline: the number that docs/security.md names."""
    need("systemd-analyze")
    words = ["systemd-analyze", "security", "--offline=yes", f"--threshold={int(HIGHEST_EXPOSURE[unit.name] * 10)}", str(unit)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.name))
def test_it_runs_what_linktrail_takes(unit: Path) -> None:
    """The words parse; the state directory is the one that systemd makes."""
    section = settings(unit)
    program, verb, *words = shlex.split(section["ExecStart"])
    assert program == PROGRAM
    load(_BY_NAME[verb]).make_context(verb, list(words))
    assert f"LINKTRAIL_STATE=/var/lib/{section['StateDirectory']}" in section["Environment"].split()
    assert section["ProtectSystem"] == "strict"
    assert section["NoNewPrivileges"] == "yes"


def test_what_each_may() -> None:
    """The collector reads what belongs to others, and the processor has no capability and sees no store."""
    collector, processor = (settings(DEPLOY / "systemd" / f"linktrail-{name}.service") for name in ("collector", "processor"))
    assert collector["CapabilityBoundingSet"] == "CAP_DAC_READ_SEARCH"
    assert processor["CapabilityBoundingSet"] == ""
    assert collector["ReadOnlyPaths"] == processor["InaccessiblePaths"]
    assert collector["ProtectHome"] == "read-only"
