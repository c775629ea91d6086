"""README's examples run: each linktrail command in a shell block, on the store and the lake that the demo leaves."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from linktrail.command import VERBS
from linktrail.state import State
from queries import demo
from queries.engine import open_lake
from tests.needs import need
from tests.serve.server import serving
from tests.stores import archived, unpack

README = Path(__file__).resolve().parents[2] / "README.md"
_BROKER = "kafka-1:9092"  # these are run against a real broker by tests/kafka


class Left(NamedTuple):
    """What the demo left: its store, its state, and an id that is in its lake."""

    store: Path
    state: Path
    id: str


def examples() -> Iterator[str]:
    """Yield every line of README's shell blocks, without its remark."""
    for block in re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL):
        yield from (re.sub(r"\s+#.*", "", line).strip() for line in block.splitlines())


COMMANDS = [line for line in dict.fromkeys(examples()) if line.startswith("linktrail ")]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    """The demo, played once."""
    where = tmp_path_factory.mktemp("readme")
    assert demo.play(io.StringIO(), directory=where) == 0
    with open_lake(State(where / "state").lake) as engine:
        [row] = engine.rows("SELECT subject FROM findings WHERE code = 'unreferenced-layer' LIMIT 1")
    return Left(where / "store", where / "state", row["subject"][:8])


def test_there_are_examples() -> None:
    """So that a change of README's form does not turn these tests off."""
    assert len(COMMANDS) > 15


@pytest.mark.parametrize("command", [line for line in COMMANDS if _BROKER not in line])
def test_an_example(command: str, left: Left, tmp_path: Path) -> None:
    """It ends with an exit code of an answer, and says something."""
    shown = {"/var/lib/containers/storage": str(left.store), "ROOT": str(left.store), "5178d4dd": left.id}
    for usual, fixture in (("/var/lib/containerd", "containerd/00-healthy-2images-1container"), ("/var/lib/docker", "docker/00-healthy")):
        if usual in command:
            need(*(() if archived(fixture) else ("fixtures", "root")))
            shown[usual] = str(unpack(fixture, tmp_path))
    words = [shown.get(word, word) for word in shlex.split(command)][1:]
    if words[0] == "serve":
        with serving(left.state / "lake") as server:
            assert server.ask("/").status == 200
        return
    if words[0] == "up":
        words.append("--once")
    done = subprocess.run(
        [sys.executable, "-m", "linktrail", *words],
        input="SELECT count(*) FROM links;\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=tmp_path,
        env=os.environ | {"LINKTRAIL_STATE": str(left.state), "PYTHONPATH": str(README.parent)},
    )
    assert done.returncode in (0, 3, 4), done.stderr
    assert done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [line for line in COMMANDS if _BROKER in line])
def test_an_example_for_a_fleet_uses_options_there_are(command: str) -> None:
    """Each option of it stands in the verb's help."""
    words = shlex.split(command)
    help_text = subprocess.run([sys.executable, "-m", "linktrail", words[1], "--help"], capture_output=True, text=True, check=True).stdout
    for option in (word for word in words if word.startswith("--")):
        assert option in help_text


def test_every_verb_is_in_the_reference() -> None:
    """docs/commands.md names all; README leads there."""
    page = (README.parent / "docs" / "commands.md").read_text(encoding="utf-8")
    assert [verb.name for verb in VERBS] == re.findall(r"^## `linktrail ([\w-]+)`$", page, re.MULTILINE)
    assert "docs/commands.md" in README.read_text(encoding="utf-8")
