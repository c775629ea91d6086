"""How linktrail runs elsewhere; the Python here makes what is generated (``make manifests``, ``make dashboard``)."""

from __future__ import annotations
