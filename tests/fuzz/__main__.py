"""``python -m tests.fuzz TARGET [options of atheris] [corpus directory]``: coverage-guided fuzzing, for as long as one likes.

Needs atheris (``pip install atheris``; there is no wheel for every Python, so no extra asks for it). Without a target: lists them. With
``--seeds DIR`` first: writes the target's seeds there, to begin a corpus.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from tests.fuzz.targets import TARGETS


def main(arguments: list[str]) -> int:
    """Hand a target over to atheris."""
    if len(arguments) < 2 or arguments[1] not in TARGETS:
        print("targets:", *TARGETS)
        return 2
    target = TARGETS[arguments[1]]
    if arguments[2:3] == ["--seeds"]:
        for number, seed in enumerate(target.seeds()):
            Path(arguments[3], f"seed-{number}").write_bytes(seed)
        return 0
    try:
        atheris = importlib.import_module("atheris")
    except ModuleNotFoundError:
        print("atheris is not installed: pip install atheris", file=sys.stderr)
        return 1
    atheris.instrument_all()
    atheris.Setup([arguments[0], *arguments[2:]], target.run)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
