"""Walkthroughs of docs/scenarios as they are read: each ``console`` block is a command (``$ ...``) and the lines that it must print.

A placeholder (``<layer>``) stands for what the test knows under that name, or, where it knows nothing, for anything; a line ``...`` stands
for lines that are left out. Paths of a usual machine are replaced by those of the engine of the test. Spaces count as one.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

SCENARIOS = Path(__file__).resolve().parents[2] / "docs/scenarios"
_PLACEHOLDER = re.compile(r"<([a-z-]+)>")


class Step(NamedTuple):
    """A command of a document, and the lines that it shows."""

    command: str
    lines: tuple[str, ...]


def steps(document: str) -> Iterator[Step]:
    """Yield the commands of a document in order."""
    text = (SCENARIOS / document).read_text(encoding="utf-8")
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *lines = part.splitlines()
            yield Step(command, tuple(line for line in lines if line.strip() not in {"", "..."}))


def walk(document: str, lake: Path, known: Mapping[str, str]) -> int:
    """Run every command of a document and compare; return how many there were."""
    count = 0
    for step in steps(document):
        words = shlex.split(_filled(step.command, known))
        assert words[0] == "linktrail", step.command
        environment = {**os.environ, "LINKTRAIL_LAKE": str(lake), "COLUMNS": "400"}
        done = subprocess.run(
            [sys.executable, "-m", "linktrail", *words[1:]], check=False, capture_output=True, text=True, env=environment, timeout=120
        )
        assert done.returncode in {0, 3, 4}, (step.command, done.stderr)
        said = " ".join(f"{done.stdout}\n{done.stderr}".split())
        for line in step.lines:
            assert re.search(_pattern(line, known), said), f"{step.command}: no {line!r} in {done.stdout}\n{done.stderr}"
        count += 1
    return count


def _filled(text: str, known: Mapping[str, str]) -> str:
    for name in sorted(known, key=len, reverse=True):
        text = text.replace(name, known[name])
    return text


def _pattern(line: str, known: Mapping[str, str]) -> str:
    """Return what a shown line matches: known names are what they stand for (ids also short), other placeholders are anything."""
    parts = re.split(r"(<[a-z-]+>)", _spaced(line))
    out = []
    for part in parts:
        if not _PLACEHOLDER.fullmatch(part):
            out.append(re.escape(_filled(part, known)))
        elif part in known:
            whole = known[part]
            short = whole.rpartition("/")[2].removeprefix("sha256:")[:12]
            out.append(f"(?:{re.escape(whole)}|{re.escape(short)})")
        else:
            out.append(r".+?")
    return "".join(out)


def _spaced(line: str) -> str:
    return " ".join(line.split())
