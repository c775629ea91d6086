"""One run of ``linktrail explain``: text in, stores checked, an answer out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final, TextIO

from collector.check import CheckReport, run_check
from collector.explain.answer import DOCUMENT_VERSION, explain
from collector.explain.matching import find_messages
from collector.explain.view import render
from collector.stores import find_stores
from linktrail.clock import SystemClock
from linktrail.codes import CODES
from linktrail.errors import EXIT_OK, LinktrailError, UnknownMessageError, UsageError
from linktrail.reporting import warn

TEXT_LIMIT: Final = 16 << 20


def explain_text(
    text: str, source: BinaryIO | None, *, roots: Sequence[Path] | None, contents: bool, look: bool, as_json: bool, stream: TextIO
) -> int:
    """Explain ``text``, or what is read from ``source``; write the answer to ``stream`` and return the exit code.

    Raises ``UnknownMessageError``, ``UsageError`` (more than ``TEXT_LIMIT`` bytes) and, for stores in ``roots``, what ``run_check`` raises.
    The findings of the stores know no grace here: whoever has an error message does not ask about work that goes well.
    """
    if source is not None:
        data = source.read(TEXT_LIMIT + 1)
        if len(data) > TEXT_LIMIT:
            raise UsageError(what=f"standard input has more than {TEXT_LIMIT} bytes: give the part of the log that matters (tail -n 10000)")
        text = data.decode(errors="replace")
    matches = find_messages(text)
    lines = sum(bool(line.strip()) for line in text.splitlines())
    if not matches:
        raise UnknownMessageError(lines=lines)
    needed = contents and any(CODES[code].family == "contents" for match in matches for code in match.message.codes)
    report, failed = _checked(roots, contents=needed) if look else (None, [])
    explanations = explain(matches, report)
    unexplained = lines - sum(match.count for match in matches)
    if as_json:
        document = {
            "schema": DOCUMENT_VERSION,
            "messages": [explanation.document() for explanation in explanations],
            "unexplained_lines": unexplained,
            "stores": [store.document() for store in report.stores] if report is not None else [],
            "errors": [error.document() for error in failed],
        }
        stream.write(json.dumps(document, indent=1) + "\n")
    else:
        render(explanations, unexplained, stream)
        stream.writelines(f"not checked: {error.message}\n" for error in failed)
    return EXIT_OK


def _checked(roots: Sequence[Path] | None, *, contents: bool) -> tuple[CheckReport | None, list[LinktrailError]]:
    """Check the named stores, or those of this machine; what cannot be read of the latter is told beside the answer."""
    if roots:
        report = run_check(roots, contents=contents, min_age=0, clock=SystemClock())
        return report, report.errors
    found = [store.root for store in find_stores(warn)]
    if not found:
        return None, []
    try:
        report = run_check(found, contents=contents, min_age=0, clock=SystemClock())
    except LinktrailError as error:
        return None, [error]
    return report, report.errors
