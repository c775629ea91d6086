"""The catalog of questions: queries/sql/*.sql, one question a file.

A file is comment lines, then one statement. The comments say everything about it, and are checked by the tests::

    -- title: Open findings
    -- question: What leaked ... at an instant?
    -- window: at | since until | record         what time the answer is about, for its completeness
    -- order: node                               (where rows come node by node, so that nodes can be asked one after the other)
    -- parameter at timestamp = now: the instant      (kinds: timestamp, text, integer; "required" or "= default")
    -- column severity: critical, error, warning or info

Parameters are bound by name (``$at``) as timestamps, text and integers; they never become part of the SQL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, Literal, cast, get_args

from linktrail.errors import UsageError
from queries.completeness import Window, to_datetime
from queries.times import parse_past

WindowKind = Literal["at", "since until", "record"]
ParameterKind = Literal["timestamp", "text", "integer"]

_PARAMETER: Final = re.compile(r"(?P<name>\w+) (?P<kind>\w+)(?P<required> required)?(?: = (?P<default>[^:]+))?: (?P<meaning>.+)")
_COLUMN: Final = re.compile(r"(?P<name>\w+): (?P<meaning>.+)")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a question; ``default`` is what it is when left out (``None``: null, no restriction)."""

    name: str
    kind: ParameterKind
    required: bool
    default: str | None
    meaning: str


@dataclass(frozen=True, slots=True)
class Question:
    """One question of the catalog; ``columns`` are (name, meaning) in order."""

    name: str
    title: str
    question: str
    window: WindowKind
    parameters: tuple[Parameter, ...]
    columns: tuple[tuple[str, str], ...]
    sql: str
    by_node: bool = False  # rows of a node stand together, nodes in order

    def values(self, given: Mapping[str, str], now: int) -> dict[str, object]:
        """Return the values of all parameters, from text as people write it; instants are ns UTC, ``now`` is the present.

        Raises ``UsageError`` for an unknown parameter, a missing one, and one that does not fit its kind.
        """
        known = {parameter.name for parameter in self.parameters}
        for name in given:
            if name not in known:
                raise UsageError(what=f"query {self.name} has no parameter {name}; it has {', '.join(sorted(known)) or 'none'}")
        return {parameter.name: _value(self.name, parameter, given.get(parameter.name), now) for parameter in self.parameters}

    def defaults(self, now: int) -> dict[str, object]:
        """Return the values of parameters that are left out; one that is required is ``None``."""
        return {one.name: None if one.required else _value(self.name, one, None, now) for one in self.parameters}

    def window_of(self, values: Mapping[str, object], now: int) -> Window:
        """Return the time that an answer with ``values`` is about."""
        if self.window == "at":
            at = _instant(values.get("at"), now)
            return Window(at, at)
        if self.window == "since until":
            since = values.get("since")
            return Window(since if isinstance(since, int) else None, _instant(values.get("until"), now))
        return Window(None, now)

    def bound(self, values: Mapping[str, object]) -> dict[str, object]:
        """Return ``values`` as DuckDB takes them."""
        instants = {parameter.name for parameter in self.parameters if parameter.kind == "timestamp"}
        return {name: to_datetime(value) if name in instants and isinstance(value, int) else value for name, value in values.items()}


def _instant(value: object, now: int) -> int:
    return value if isinstance(value, int) else now


def _value(question: str, parameter: Parameter, text: str | None, now: int) -> object:
    if text is None:
        text = parameter.default
    if text is None:
        if parameter.required:
            raise UsageError(what=f"query {question} needs --param {parameter.name}=..., {parameter.meaning}")
        return None
    if parameter.kind == "timestamp":
        return parse_past(text, parameter.name, now)
    if parameter.kind == "integer":
        if not re.fullmatch(r"-?\d{1,18}", text):
            raise UsageError(what=f"parameter {parameter.name} takes a whole number, not '{text}'")
        return int(text)
    return text


@cache
def questions() -> dict[str, Question]:
    """Return every question of the catalog by name."""
    found = {}
    for file in sorted(files("queries").joinpath("sql").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql"):
            name = file.name.removesuffix(".sql")
            found[name] = parse_question(name, file.read_text(encoding="utf-8"))
    return found


def question_named(name: str) -> Question:
    """Return the question ``name``; raises ``UsageError`` naming all there are."""
    known = questions()
    if name not in known:
        raise UsageError(what=f"there is no query {name}; there are {', '.join(known)}")
    return known[name]


def parse_question(name: str, text: str) -> Question:
    """Return the question in the text of a catalog file; raises ``ValueError`` where its comments do not follow the form."""
    header, single, optional = {}, ("title", "question", "window"), ("order",)
    parameters: list[Parameter] = []
    columns: list[tuple[str, str]] = []
    body: list[str] = []
    for line in text.splitlines():
        if not line.startswith("-- "):
            body.append(line)
            continue
        comment = line.removeprefix("-- ")
        word, _, rest = comment.partition(" ")
        if word.removesuffix(":") in (*single, *optional) and word.endswith(":"):
            header[word.removesuffix(":")] = rest
        elif word == "parameter" and (match := _PARAMETER.fullmatch(rest)):
            parameters.append(_parameter(match))
        elif word == "column" and (match := _COLUMN.fullmatch(rest)):
            columns.append((match["name"], match["meaning"]))
        else:
            raise ValueError(f"{name}.sql: cannot read the comment {comment!r}")
    by_node = header.pop("order", None)
    if set(header) != set(single) or header["window"] not in get_args(WindowKind) or by_node not in (None, "node"):
        raise ValueError(f"{name}.sql: needs a title, a question and a window")
    window = cast("WindowKind", header["window"])
    return Question(
        name, header["title"], header["question"], window, tuple(parameters), tuple(columns), "\n".join(body).strip(), by_node is not None
    )


def _parameter(match: re.Match[str]) -> Parameter:
    if match["kind"] not in get_args(ParameterKind):
        raise ValueError(f"parameter {match['name']} has the unknown kind {match['kind']}")
    kind = cast("ParameterKind", match["kind"])
    return Parameter(match["name"], kind, bool(match["required"]), match["default"], match["meaning"])
