"""Takes batches from the spool (or Kafka) and commits them to the lake, each row exactly once."""

from __future__ import annotations
