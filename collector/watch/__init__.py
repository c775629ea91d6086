"""Watching stores without silent loss: what happens to names, when, and what may have been missed.

``interface`` is what the recorder sees. ``plain`` (inotify) and ``deep`` (fanotify) are the watchers, ``probe`` says which of them this
process may use. Below them: ``inotify`` and ``fanotify`` (system calls), ``emitter`` (watchdog's extension points, bounded),
``watermark`` (brackets of time), ``watches``, ``limits``, ``guard``, ``standing``, ``pulse`` (every way to miss).
"""

from __future__ import annotations
