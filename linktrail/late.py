"""Loading a part of linktrail by name and late: the waist knows no other package, and an extra that is not installed is one clear error."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Final

from linktrail.errors import MissingExtraError

_OURS: Final = frozenset({"linktrail", "collector", "processor", "queries"})


def load_late(module: str, *, for_verb: str, extra: str) -> ModuleType:
    """Import ``module``. Raises ``MissingExtraError`` when a library that ``extra`` brings is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in _OURS:
            raise
        raise MissingExtraError(verb=for_verb, library=error.name, extra=extra) from error
