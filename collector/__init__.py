"""Reads stores, watches them, and puts what changed into the spool: one collector a node."""

from __future__ import annotations
