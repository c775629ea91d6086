"""Installing what live tests need starts no service on the machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests import setup_machine


def test_services_are_refused_while_packages_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's invoke-rc.d asks the policy, and 101 is no; afterwards the machine is as before, also when the installation fails."""
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(setup_machine, "POLICY", policy)

    def install() -> None:
        with setup_machine.no_daemons():
            assert subprocess.run([policy, "containerd", "start"], check=False).returncode == 101
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        install()
    assert not policy.exists()


def test_a_policy_of_the_machine_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there is neither changed nor removed."""
    policy = tmp_path / "policy-rc.d"
    policy.write_text("its own", encoding="ascii")
    monkeypatch.setattr(setup_machine, "POLICY", policy)
    with setup_machine.no_daemons():
        assert policy.read_text(encoding="ascii") == "its own"
    assert policy.read_text(encoding="ascii") == "its own"
