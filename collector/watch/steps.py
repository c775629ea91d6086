"""Opening directories below a root: one step at a time, no link followed, nothing read (O_PATH)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from collector.watch.guard import Identity

STEP: Final = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
ROOT: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
NOT_THERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""What opening a directory says where there is none; a link, and a file, is none."""


class Steps:
    """Opens directories below ``root``; the last parents stay open, since a plan lists neighbours together. A context manager.

    Only the root itself, the administrator's word, may be a link. Raises ``OSError`` when it cannot be opened.
    """

    def __init__(self, root: Path) -> None:
        """Open the root."""
        self._root = root
        self._stack: list[tuple[str, int]] = [("", os.open(root, ROOT))]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._shorten(0)

    @property
    def top(self) -> int:
        """The open root."""
        return self._stack[0][1]

    @contextmanager
    def opened(self, path: Path) -> Iterator[int]:
        """Open the directory at ``path``, at or below the root. Raises ``OSError``."""
        try:
            names = path.relative_to(self._root).parts
        except ValueError as error:
            raise OSError(errno.EXDEV, "not below the root", str(path)) from error
        if not names:
            yield self.top
            return
        parent = self._parent(names[:-1])
        descriptor = os.open(names[-1], STEP, dir_fd=parent)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _parent(self, names: tuple[str, ...]) -> int:
        common = 0
        while common < len(names) and common + 1 < len(self._stack) and self._stack[common + 1][0] == names[common]:
            common += 1
        self._shorten(common + 1)
        for name in names[common:]:
            self._stack.append((name, os.open(name, STEP, dir_fd=self._stack[-1][1])))
        return self._stack[-1][1]

    def _shorten(self, length: int) -> None:
        while len(self._stack) > length:
            os.close(self._stack.pop()[1])


def identity_of(descriptor: int) -> Identity:
    """Return which directory an open descriptor is."""
    facts = os.fstat(descriptor)
    return Identity(facts.st_dev, facts.st_ino)
