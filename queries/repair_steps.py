"""What repairing each finding comes to: in which order, and what it loses. The step itself is the finding's own advice.

The order is: first what would do damage in any later step (traps, metadata), then links whose content is intact, then records, then what
must be removed and fetched again, and leaks last, because a broken chain can make something look leaked that is needed.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class RepairStep(NamedTuple):
    """``order`` among the steps of one plan; what carrying it out ``loses``."""

    order: int
    loses: str


_NOTHING: Final = "nothing: the content is intact and only a link or file beside it is written again"
_WRITABLE: Final = "what was written into the containers named; copy it first"
_FETCHED: Final = "nothing that cannot be fetched again, if the registry still has the image; containers on it must be made anew"
_LEAK: Final = "the bytes it holds, which nothing on record needs"
_EVIDENCE: Final = "the evidence of what failed; the record keeps its story"

REPAIR_STEPS: Final[dict[str, RepairStep]] = {
    "link-file-empty": RepairStep(0, _NOTHING),
    "metadata-unreadable": RepairStep(1, "what the damaged file said and no copy has"),
    "metadata-leftover": RepairStep(7, _LEAK),
    "link-file-missing": RepairStep(2, _NOTHING),
    "short-link-missing": RepairStep(2, _NOTHING),
    "short-link-malformed": RepairStep(2, _NOTHING),
    "short-link-duplicate": RepairStep(3, "a name that no other link uses"),
    "short-link-dangling": RepairStep(3, "a name that leads nowhere"),
    "lower-missing": RepairStep(3, _NOTHING),
    "lower-empty": RepairStep(3, _NOTHING),
    "lower-malformed": RepairStep(3, _NOTHING),
    "lower-mismatch": RepairStep(3, _NOTHING),
    "overlapping-layers": RepairStep(3, _NOTHING),
    "parent-missing": RepairStep(4, _FETCHED),
    "layer-missing": RepairStep(5, _FETCHED),
    "image-layer-missing": RepairStep(5, _FETCHED),
    "container-layer-missing": RepairStep(5, _WRITABLE),
    "container-image-missing": RepairStep(5, _WRITABLE),
    "layer-data-missing": RepairStep(5, _FETCHED),
    "image-data-missing": RepairStep(5, _FETCHED),
    "image-data-modified": RepairStep(5, _FETCHED),
    "container-data-missing": RepairStep(5, _WRITABLE),
    "container-data-modified": RepairStep(5, _WRITABLE),
    "layer-content-modified": RepairStep(6, _FETCHED),
    "layer-content-digest": RepairStep(6, _FETCHED),
    "layer-symlink-retargeted": RepairStep(6, _FETCHED),
    "zero-length-files": RepairStep(6, _FETCHED),
    "dangling-symlink": RepairStep(6, _FETCHED),
    "escaping-symlink": RepairStep(6, _FETCHED),
    "orphan-mount": RepairStep(7, "the view that processes in that mount namespace still have of the files"),
    "deleted-open-file": RepairStep(7, "the file, when the process that holds it ends"),
    "interrupted-removal": RepairStep(7, _EVIDENCE),
    "incomplete-layer": RepairStep(7, _EVIDENCE),
    "phantom-child": RepairStep(7, "nothing: the child that is named is gone already"),
    "ghost-reference": RepairStep(7, _LEAK),
    "pinned-by-lease": RepairStep(8, _LEAK),
    "pinned-by-label": RepairStep(8, _LEAK),
    "external-container": RepairStep(8, _WRITABLE),
    "untagged-image": RepairStep(8, _FETCHED),
    "unreferenced-layer": RepairStep(8, _LEAK),
    "unaccounted-layer": RepairStep(8, _LEAK),
    "leftover-tempdir": RepairStep(9, _EVIDENCE),
    "leftover-ingest": RepairStep(9, "the part of the download that is there; the next pull begins anew"),
    "fast-growth": RepairStep(9, "whatever is deleted inside the container; growth itself is no damage"),
    "filesystem-filling": RepairStep(9, "nothing by itself: it says when, the other findings say what to free"),
    "inodes-filling": RepairStep(9, "nothing by itself: it says when, the other findings say what to free"),
    "size-mismatch": RepairStep(9, "nothing: the two sizes disagree, and the measured one is right"),
}
