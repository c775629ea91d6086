"""The vocabulary of findings: one row a code, stable for ever.

Codes are what scripts match on; severities and grace periods are defaults. ``grace`` says which waiting time
keeps normal work (a running pull, build or removal) from being called a leak: ``none``, ``transient`` (10 minutes) or
``unreferenced`` (24 hours, as upstream's own check). Grace applies to findings, never to the record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Family = Literal["leaks", "breaks", "contents", "growth"]
Severity = Literal["info", "warning", "error", "critical"]
Grace = Literal["none", "transient", "unreferenced"]

SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "error", "critical")
GRACE_SECONDS: Final[dict[Grace, float]] = {"none": 0.0, "transient": 600.0, "unreferenced": 86_400.0}


@dataclass(frozen=True, slots=True)
class Code:
    """One finding code: its name, family, default severity, grace and one-line meaning."""

    name: str
    family: Family
    severity: Severity
    grace: Grace
    meaning: str


_ALL: Final = (
    Code("unaccounted-layer", "leaks", "warning", "transient", "a layer directory that no record names"),
    Code("unreferenced-layer", "leaks", "warning", "unreferenced", "a layer record that no image or container reaches"),
    Code("incomplete-layer", "leaks", "warning", "transient", "a layer whose creation never finished"),
    Code("interrupted-removal", "leaks", "warning", "transient", "a layer or container whose removal never finished"),
    Code("phantom-child", "leaks", "error", "none", "a children index names a snapshot that is gone; it blocks garbage collection"),
    Code("ghost-reference", "leaks", "warning", "transient", "held by a container, mount or image record whose owner is gone"),
    Code("pinned-by-lease", "leaks", "info", "transient", "only a lease holds it"),
    Code("pinned-by-label", "leaks", "warning", "transient", "only a garbage collection label holds it"),
    Code("external-container", "leaks", "info", "transient", "a build container that no engine lists"),
    Code("untagged-image", "leaks", "info", "none", "an image without a name that no container uses"),
    Code("leftover-tempdir", "leaks", "warning", "transient", "a temporary or staging directory left behind"),
    Code("leftover-ingest", "leaks", "warning", "transient", "a download that never finished"),
    Code("orphan-mount", "leaks", "warning", "transient", "a mount whose container is gone"),
    Code("deleted-open-file", "leaks", "warning", "transient", "a deleted file that a process keeps open"),
    Code("layer-missing", "breaks", "critical", "none", "a layer record whose directory is gone"),
    Code("parent-missing", "breaks", "critical", "none", "a layer whose recorded parent does not exist"),
    Code("image-layer-missing", "breaks", "critical", "none", "an image whose top layer has no record"),
    Code("container-layer-missing", "breaks", "critical", "none", "a container whose writable layer has no record"),
    Code("container-image-missing", "breaks", "error", "none", "a container whose image has no record"),
    Code("short-link-missing", "breaks", "error", "none", "a layer whose short link under l/ is gone"),
    Code("short-link-dangling", "breaks", "error", "none", "a short link whose layer directory is gone"),
    Code("short-link-duplicate", "breaks", "warning", "none", "two short links for one layer"),
    Code("short-link-malformed", "breaks", "error", "none", "an entry of l/ that is no short link"),
    Code("link-file-missing", "breaks", "error", "none", "a layer without its link file"),
    Code("link-file-empty", "breaks", "critical", "none", "an empty link file: deleting this layer erases all of l/"),
    Code("lower-missing", "breaks", "critical", "none", "a child layer without its lower file"),
    Code("lower-empty", "breaks", "critical", "none", "a child layer with an empty lower file"),
    Code("lower-malformed", "breaks", "critical", "none", "a lower file that is not a list of short links"),
    Code("lower-mismatch", "breaks", "critical", "none", "lower disagrees with the recorded parents or with lower-layers"),
    Code("overlapping-layers", "breaks", "critical", "none", "two members of one chain are the same directory"),
    Code("metadata-unreadable", "breaks", "critical", "none", "a metadata file that cannot be parsed"),
    Code("metadata-leftover", "breaks", "warning", "transient", "metadata of an object that no longer exists"),
    Code("layer-data-missing", "breaks", "error", "none", "a data file of a layer is gone"),
    Code("image-data-missing", "breaks", "error", "none", "a data file of an image is gone"),
    Code("image-data-modified", "breaks", "error", "none", "a data file of an image differs from its record"),
    Code("container-data-missing", "breaks", "error", "none", "a data file of a container is gone"),
    Code("container-data-modified", "breaks", "error", "none", "a data file of a container differs from its record"),
    Code("layer-content-modified", "contents", "error", "none", "files of a layer differ from its tar-split"),
    Code("layer-content-digest", "contents", "error", "none", "the regenerated diff has another digest"),
    Code("layer-symlink-retargeted", "contents", "error", "none", "a symbolic link in a layer points elsewhere than its tar-split says"),
    Code("zero-length-files", "contents", "critical", "none", "files that should have content are empty"),
    Code("dangling-symlink", "contents", "warning", "none", "a symbolic link that resolves to nothing in the merged chain"),
    Code("escaping-symlink", "contents", "warning", "none", "a symbolic link that climbs out of the root"),
    Code("fast-growth", "growth", "warning", "none", "a writable layer that grows fast"),
    Code("filesystem-filling", "growth", "error", "none", "a filesystem that will be full soon"),
    Code("inodes-filling", "growth", "error", "none", "a filesystem that runs out of inodes"),
    Code("size-mismatch", "growth", "warning", "none", "recorded and measured size disagree"),
)

CODES: Final[dict[str, Code]] = {code.name: code for code in _ALL}
