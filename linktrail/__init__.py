"""The waist of linktrail: what crosses every border (rows, schema, batches, names, errors, durable files) and the command."""

from __future__ import annotations

__version__ = "0.1.0"
