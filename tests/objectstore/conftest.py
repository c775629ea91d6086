from __future__ import annotations

import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from processor.location import place


@dataclass
class Store:
    """An S3 on loopback: where it is, and the file that makes it fail."""

    url: str
    faults: Path

    def bucket(self) -> Path:
        """Make a new bucket; return the place of a lake in it."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        with urllib.request.urlopen(urllib.request.Request(f"{self.url}/{name}", method="PUT")) as answer:
            assert answer.status == 200
        return place(f"s3://{name}/of/linktrail")

    def fail(self, how: str) -> None:
        """Let puts fail (``refuse WORD``, ``forget WORD``); empty: none does."""
        self.faults.write_text(how, encoding="utf-8")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A server for the session."""
    directory = tmp_path_factory.mktemp("store")
    faults = directory / "faults"
    faults.write_text("")
    with (directory / "log").open("wb") as log:
        command = [sys.executable, str(Path(__file__).with_name("server.py")), str(faults)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as child:
            assert child.stdout is not None
            port = child.stdout.readline().strip()
            try:
                yield Store(f"http://127.0.0.1:{port}", faults)
            finally:
                child.kill()


@pytest.fixture
def store(server: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """The server, as linktrail finds it through its environment: the secret in a file."""
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    secret.chmod(0o600)
    settings = {"AWS_ENDPOINT_URL": server.url, "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "key"}
    for name, value in settings.items():
        monkeypatch.setenv(f"LINKTRAIL_LAKE_OPTION_{name}", value)
    monkeypatch.setenv("LINKTRAIL_LAKE_OPTION_AWS_SECRET_ACCESS_KEY_FILE", str(secret))
    monkeypatch.setenv("LINKTRAIL_CACHE", str(tmp_path / "cache"))
    yield server
    server.fail("")
