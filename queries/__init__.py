"""Answers questions over the lake with DuckDB."""

from __future__ import annotations
