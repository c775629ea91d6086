from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from linktrail import errors
from linktrail.reporting import report, report_unknown

DOCUMENTED = {0, 1, 2, 3, 4, 10, 11, 12, 130}


def tree(root: type[errors.LinktrailError]) -> Iterator[type[errors.LinktrailError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


class _AnyField(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return key


@pytest.mark.parametrize("kind", list(tree(errors.LinktrailError)), ids=lambda kind: kind.__name__)
def test_every_error_says_what_and_with_which_code(kind: type[errors.LinktrailError]) -> None:
    """The class alone gives the message, the hint and a documented exit code."""
    assert kind.exit_code in DOCUMENTED
    message = (kind.__doc__ or "").split("\n", 1)[0]
    assert message
    assert message.format_map(_AnyField())
    kind.hint.format_map(_AnyField())


def test_hostile_names_are_inert_in_messages() -> None:
    """An escape sequence in a path does not reach the terminal, and braces in it are only text."""
    error = errors.NoStoreError(root="/srv/\x1b[2Jevil{0}", what="no overlay/")
    assert "\x1b" not in error.message
    assert "evil{0}" in error.message
    assert "\x1b" not in error.advice


def test_json_errors_are_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts get the same failure as one JSON object, and the exit code."""
    assert report(errors.LakeMissingError(path="/x"), as_json=True) == 11
    document = json.loads(capsys.readouterr().err)
    assert document["error"] == "LakeMissingError"
    assert document["exit_code"] == 11
    assert report_unknown(ValueError("odd\x07"), as_json=False) == 1
    assert "\x07" not in capsys.readouterr().err
