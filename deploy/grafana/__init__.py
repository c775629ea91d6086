"""The dashboard, as code."""

from __future__ import annotations
