"""Keeps a lake fast and small for years, beside running processors and readers: ``linktrail process --maintain``.

* ``compact``: many small files become few sorted ones; rows that were stored twice are stored once.
* ``rollup``: a line a day for everything that was measured (``usage_daily``).
* ``retain``: days beyond the horizon go, but what still holds is carried over it.
* ``vacuum``: files that nothing refers to any more are removed, after a grace.

Every change is one commit of one table that carries the app transaction ``maintenance``: of two maintainers one is refused and changes
nothing. Old files stay until vacuum's grace is over, so a reader with an older list of files goes on undisturbed. Killed anywhere, it
leaves files that no commit names, which a later vacuum removes. deltalake's own ``optimize`` is never called: two racing calls duplicate
every row.
"""

from __future__ import annotations
