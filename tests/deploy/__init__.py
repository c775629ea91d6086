"""What ``deploy/`` promises, shown by its own validators and by running the two programs as it says they run."""

from __future__ import annotations
