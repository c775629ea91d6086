"""How a failure reaches a person: one message with its hint on standard error, and the documented exit code.

With ``--json`` (or ``--format json``) the same failure is one JSON object on standard error. A traceback is never shown for an
error linktrail knows; for one it does not know, the last line names it and ``LINKTRAIL_TRACEBACK=1`` shows the rest.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import traceback
from collections.abc import Sequence

from linktrail.errors import LinktrailError
from linktrail.text import printable


def wants_json(arguments: Sequence[str]) -> bool:
    """Tell whether this command line asks for JSON."""
    if "--json" in arguments or "--format=json" in arguments:
        return True
    return any(pair == ("--format", "json") for pair in itertools.pairwise(arguments))


def report(error: LinktrailError, *, as_json: bool) -> int:
    """Write ``error`` to standard error and return its exit code."""
    if as_json:
        sys.stderr.write(json.dumps(error.document()) + "\n")
    else:
        sys.stderr.write(f"linktrail: {error.message}\n")
        if error.advice:
            sys.stderr.write(f"  {error.advice}\n")
    return error.exit_code


def warn(error: LinktrailError) -> None:
    """Write to standard error what is wrong and does not keep the command from its work."""
    sys.stderr.write(f"linktrail: warning: {error.message}\n")
    if error.advice:
        sys.stderr.write(f"  {error.advice}\n")


def report_unknown(error: Exception, *, as_json: bool) -> int:
    """Write an error that linktrail has no class for, and return exit code 1."""
    message = f"{type(error).__name__}: {printable(error)}"
    hint = "This is a defect of linktrail; LINKTRAIL_TRACEBACK=1 shows where it happened."
    if os.environ.get("LINKTRAIL_TRACEBACK") == "1":
        traceback.print_exc()
    if as_json:
        sys.stderr.write(json.dumps({"error": type(error).__name__, "message": message, "hint": hint, "exit_code": 1}) + "\n")
    else:
        sys.stderr.write(f"linktrail: {message}\n  {hint}\n")
    return 1
