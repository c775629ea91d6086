"""All rules for containerd stores, over one sorting of the links."""

from __future__ import annotations

from collector.diagnose import containerd_breaks, containerd_leaks, containerd_objects, containerd_strays
from collector.diagnose.advice_containerd import ContainerdAdvice
from collector.diagnose.containerd_store import ContainerdStore
from collector.diagnose.context import Examination


def findings(look: Examination) -> None:
    """Report every leak and every break that only containerd has; nothing a read-only root does not use is a leak."""
    store = ContainerdStore(look.graph.survey)
    advice = ContainerdAdvice(look.graph.survey.root)
    if not look.read_only:
        containerd_leaks.leaks(look, store, advice)
        containerd_strays.leaks(look, store, advice)
    containerd_breaks.breaks(look, store, advice)
    containerd_objects.breaks(look, store, advice)
