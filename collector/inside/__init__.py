"""What changes inside the writable layers: symbolic links, hard links and whiteouts, in deep mode."""

from __future__ import annotations

from collector.inside.recording import InsideLayers

__all__ = ["InsideLayers"]
