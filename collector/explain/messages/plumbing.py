"""Messages about link, lower and l/, of containers/storage (podman, CRI-O, buildah) and of Docker's overlay2."""

from __future__ import annotations

from typing import Final

from collector.explain.messages.message import Message

_BOTH: Final = "docker, podman, CRI-O, buildah"
_STORAGE: Final = "podman, CRI-O, buildah"
_EMPTY: Final = "find ROOT/overlay ROOT/overlay2 -maxdepth 2 \\( -name link -o -name lower \\) -size 0"

PLUMBING: Final = (
    Message(
        "readlink-of-short-links",
        _BOTH,
        r"readlink \S*/l/?: invalid argument",
        ("lower-malformed", "link-file-empty", "lower-mismatch"),
        "A lower file holds a bare `l`: the link file of a parent was empty (0 bytes, as a crash leaves it) when this layer was made.",
        (_EMPTY, "grep -lE '(^|:)l(:|$)' ROOT/overlay*/*/lower"),
        "Write the name back into the parent's link file (the entry of l/ that leads to ../<parent>/diff), then correct the first "
        "component of each lower file. Do not delete the parent first: that erases all of l/.",
        ("A01", "S10"),
    ),
    Message(
        "readlink-of-home",
        _BOTH,
        r"readlink \S*/overlay2?/?: invalid argument",
        ("lower-empty",),
        "The lower file of this layer is empty (0 bytes): it was written, but its content never reached the disk.",
        (_EMPTY,),
        "Write the chain of parents back into lower: `linktrail check` computes it from the recorded parents. Pulling again does not help "
        "while the layer is recorded. Docker may start such a container with all other layers as its root: do not start it.",
        ("A02", "A09", "A10", "S1"),
    ),
    Message(
        "short-link-lost",
        _BOTH,
        r"readlink \S*/l/[a-z2-7]{4,26}[.~\w]*: no such file|stat \S*/l/[a-z2-7]{4,26}\S*: no such file",
        ("short-link-missing", "layer-missing", "short-link-dangling"),
        "A symbolic link in l/ is gone (lost in a crash, or deleted together with its layer), and a lower file still names it.",
        ("ls -l ROOT/overlay*/l | wc -l", "grep -l SHORT_NAME ROOT/overlay*/*/link"),
        "If a link file names it, its layer is there: ln -s ../<layer>/diff back into l/. If none does, the layer is gone: remove "
        "what needs "
        "it and pull again.",
        ("A06", "A11", "D5"),
    ),
    Message(
        "too-many-levels",
        _BOTH,
        r"too many levels of symbolic links",
        ("overlapping-layers", "lower-empty", "link-file-empty", "lower-malformed"),
        "Two members of the chain are the same or nested directories, and the kernel refuses to stack them. It has nothing to do "
        "with symbolic links inside the image.",
        (_EMPTY, "ls -l ROOT/overlay*/l | awk '{print $NF}' | sort | uniq -d"),
        "Correct the short link or the lower file that names a directory twice; `linktrail check` says which. No image need be "
        "pulled again.",
        ("A03",),
    ),
    Message(
        "recreating-short-links",
        _STORAGE,
        r"going through storage to recreate the missing symlinks|can't stat lower layer",
        ("short-link-missing",),
        "Short links in l/ were missing and the engine made them again from the link files: a crash lost them. The content is untouched.",
        ("ls ROOT/overlay/l | wc -l", "last -x reboot"),
        "Nothing, if the engine goes on; the repair is complete when `linktrail check` is silent. Versions from 1.63 do not repair it.",
        ("A06", "C8"),
    ),
    Message(
        "correcting-link",
        _STORAGE,
        r"correcting link for layer|recreating the missing symlinks|open \S*/overlay/\S*/link: no such file",
        ("short-link-dangling", "layer-missing", "link-file-missing"),
        "The engine wanted to repair l/ and met an entry whose layer is gone, or a layer without its link file: one dangling entry of l/ "
        "stops the repair for all others.",
        ("find ROOT/overlay/l -xtype l", "for d in ROOT/overlay/*/; do test -e $d/link || echo $d; done"),
        "Remove the entry of l/ whose layer is gone and is named by no lower file; where the layer is recorded but gone, remove "
        "what needs it "
        "and pull again.",
        ("C12", "C13", "A07", "A08"),
    ),
    Message(
        "short-links-repaired-for-ever",
        _STORAGE,
        r"recreatesymlinks",
        ("short-link-duplicate", "short-link-dangling"),
        "Two entries of l/ lead to one layer: the engine's repair writes its link file again and again, to an end only in newer versions.",
        ("ls -l ROOT/overlay/l | awk '{print $NF}' | sort | uniq -d",),
        "Remove the entry that no lower file and no link file names.",
        ("A08",),
    ),
    Message(
        "overlay-mount-nothing-there",
        _BOTH,
        r"creating overlay mount.*no such file",
        ("short-link-missing", "lower-mismatch", "layer-missing", "lower-malformed"),
        "A directory of the chain that lower names is not there: a short link is missing, or lower names another chain than the records.",
        ("cat ROOT/overlay*/LAYER/lower", "ls -l ROOT/overlay*/l"),
        "Make the missing short link again from the link file of its layer. Docker does not repair it, and leaves an -init "
        "directory behind at each failed attempt.",
        ("C11", "D3", "D5"),
    ),
    Message(
        "layer-directory-gone",
        _STORAGE,
        r"faccessat \S*/overlay/\S*|lstat \S*/overlay2?/\S*: no such file",
        ("layer-missing",),
        "A layer is recorded, but its directory is gone. If all are gone at once, a filesystem is not mounted.",
        ("findmnt --target ROOT/overlay", "ls ROOT/overlay | wc -l"),
        "First see that the filesystem of overlay/ is mounted. Else remove everything that shares the layer, and pull again.",
        ("B05", "A12", "C13"),
    ),
)
