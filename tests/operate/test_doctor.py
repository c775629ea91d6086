"""The doctor on real stores, settings and machines as they are; what is wrong is named, with what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from collector.program import Options, collect
from linktrail.command import main
from linktrail.state import State
from processor.program import drain
from tests.needs import need
from tests.operate.scrape import free_port
from tests.recorder.playground import Playground


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LINKTRAIL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LINKTRAIL_CONFIG", "")


def ask(capsys: pytest.CaptureFixture[str], file: Path | None = None) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the exit code, and the checks by name."""
    code = main(["doctor", "--json", *(["--config", str(file)] if file else [])])
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] == (code == 0)
    for check in document["checks"]:
        assert check["status"] in {"ok", "warning", "error", "not applicable"}
        assert check["found"]
        assert check["status"] != "error" or (check["means"] and check["todo"]), check
    return code, {check["name"]: check for check in document["checks"]}


def settings(tmp_path: Path, root: Path, more: str = "") -> Path:
    file = tmp_path / "linktrail.toml"
    file.write_text(f'state = "{tmp_path}/state"\n{more}\n[collect]\nroots = ["{root}"]\n')
    return file


def test_a_host_that_is_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A store, a spool and a lake: nothing is wrong, and nothing was written to find that out."""
    store = Playground.filled(tmp_path / "store", layers=4)
    state = State(tmp_path / "state")
    assert collect([store.root], state.path, Options(once=True)) == 0
    drain(state, state.lake)
    file = settings(tmp_path, store.root)
    before = sorted((str(path), path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    code, found = ask(capsys, file)
    assert code == 0, found
    assert found[f"store {store.root}"]["found"] == "containers_storage"
    assert found[f"reading {store.root}"]["status"] == "ok"
    assert found["spool"]["found"].endswith("0 batches not acknowledged; the collector is stopped")
    assert found["lake"]["status"] == found["lake, writing"]["status"] == found["clock"]["status"] == "ok"
    assert found["Kafka"]["status"] == "not applicable"
    assert sorted((str(path), path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_what_is_wrong_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No store where one is named, no brokers, a spool beyond the disk, a lake that is no place: exit code 1 and what to do."""
    more = f'lake = "http://x/y"\n[kafka]\nbrokers = ["127.0.0.1:{free_port()}"]'
    file = settings(tmp_path, tmp_path / "none", more)
    file.write_text(file.read_text() + 'spool_limit = "900PB"\n')
    code, found = ask(capsys, file)
    assert code == 1
    assert found[f"store {tmp_path / 'none'}"]["status"] == "error"
    assert (found["state directory"]["status"], found["state directory"]["todo"][:10]) == ("warning", "Free space")
    assert found["Kafka"]["status"] == "error"
    assert found["lake"]["status"] == "error"


def test_wrong_settings_are_a_check(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor does not die of what it is asked about; a secret that everybody can read is refused; unknown variables are told."""
    file = tmp_path / "linktrail.toml"
    file.write_text("[collect]\nheartbeet = 1\n")
    code, found = ask(capsys, file)
    assert (code, found["configuration"]["status"]) == (1, "error")
    assert "did you mean collect.heartbeat?" in found["configuration"]["found"]
    secret = tmp_path / "password"
    secret.write_text("hunter2")
    secret.chmod(0o644)
    scram = 'sasl_mechanism = "SCRAM-SHA-512"\nusername = "u"\n'
    file.write_text(f'[kafka]\nbrokers = ["127.0.0.1:9"]\ntls = true\n{scram}password_file = "{secret}"\n')
    monkeypatch.setenv("LINKTRAIL_HEARTBEET", "1")
    code, found = ask(capsys, file)
    assert code == 1
    assert "everybody on this machine can read it" in found["Kafka"]["found"]
    assert "hunter2" not in json.dumps(found)
    assert (found["configuration"]["status"], "LINKTRAIL_HEARTBEET" in found["configuration"]["found"]) == ("warning", True)


AS_NOBODY = """
import contextlib, io, os, sys
from linktrail.command import main
with contextlib.redirect_stdout(io.StringIO()):
    main(sys.argv[1:])  # loads every module while this user may read them
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(main(sys.argv[1:]))
"""


def test_a_user_who_may_not_read_the_store() -> None:
    """Directories that this user may not list are an error that names the capability; so is a state directory of another's."""
    need("root")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        store = Playground.filled(place / "store")
        (store.root / "overlay").chmod(0o700)
        file = settings(place, store.root)
        environment = {"PATH": os.environ["PATH"], "HOME": "/", "LINKTRAIL_CONFIG": ""}
        command = [sys.executable, "-c", AS_NOBODY, "doctor", "--json", "--config", str(file)]
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 1, done.stderr
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    refused = found.get(f"reading {store.root}") or found[f"store {store.root}"]
    assert refused["status"] == "error"
    assert found["CAP_DAC_READ_SEARCH"]["status"] in {"error", "warning"}
    assert found["CAP_DAC_READ_SEARCH"]["todo"].startswith("Grant it")
    assert found["state directory"]["status"] == "error"


def test_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines, with what to do below what is wrong; nothing of a name that is hostile acts on the terminal."""
    file = tmp_path / "linktrail.toml"
    file.write_text('[collect]\nroots = ["/no\\u202ewhere"]\n')
    assert main(["doctor", "--config", str(file)]) == 1
    text = capsys.readouterr().out
    assert "\u202e" not in text
    [line] = [line for line in text.splitlines() if "where:" in line]
    assert line.strip().startswith("error  store /no")
    assert "do: Correct collect.roots." in text
