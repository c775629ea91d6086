"""Messages of dockerd, containerd and the kubelet."""

from __future__ import annotations

from typing import Final

from collector.explain.messages.message import Message

_CONTAINERD: Final = "containerd, Kubernetes, k3s, RKE2"

DAEMONS: Final = (
    Message(
        "write-set-exists",
        "docker",
        r"(failed to register layer: )?rename \S*.*file exists|rename .*write-set-\S*",
        ("metadata-leftover", "layer-data-missing"),
        "A directory of this chain id stands in layerdb without being a layer (empty, or in part): every pull of an image with "
        "this layer fails at it.",
        ("find ROOT/image/overlay2/layerdb/sha256 -maxdepth 1 -type d -empty",),
        "rmdir that one directory (it is empty; rmdir refuses otherwise), then pull again.",
        ("D03",),
    ),
    Message(
        "layer-does-not-exist",
        "docker",
        r"layer does not exist|not restoring image",
        ("image-layer-missing", "layer-data-missing", "parent-missing"),
        "dockerd cannot load a layer of the image at its start: a file of its entry in layerdb is empty or gone. The image vanishes "
        "from the "
        "listings, its layers stay.",
        ("find ROOT/image/overlay2/layerdb/sha256 -name cache-id -size 0",),
        "Put back the file that `linktrail check` names, or pull the image again after removing the layer's entry.",
        ("D8", "D9"),
    ),
    Message(
        "removal-fails",
        "docker, podman",
        r"failed to remove root filesystem|unlinkat \S*.*(operation not permitted|permission denied)|unlinkat .*: operation not permitted"
        r"|removal in progress",
        ("interrupted-removal", "incomplete-layer"),
        "A container or layer was half removed, because a file in it cannot be deleted (an immutable flag, mostly). With podman "
        "every further command fails at it.",
        ("lsattr -R ROOT/overlay*/LAYER/diff 2>/dev/null | grep -- '-i-'",),
        "chattr -i what lsattr shows, then remove the container again.",
        ("C4", "D4"),
    ),
    Message(
        "busy",
        "docker, podman, CRI-O, containerd",
        r"device or resource busy",
        ("orphan-mount", "interrupted-removal"),
        "Something has the directory mounted in another mount namespace (a monitoring container that mounts /, a shim that was left). The "
        "store itself is sound.",
        ("grep -l LAYER /proc/*/mountinfo",),
        "Unmount it in that namespace (nsenter -m -t PID umount PATH) or restart what holds it. Do not wipe the store.",
        ("D07", "B08", "E01"),
    ),
    Message(
        "snapshot-with-child",
        _CONTAINERD,
        r"cannot remove snapshot with child",
        ("phantom-child",),
        "The parent's children index names a snapshot. If `snapshots ls` shows no such child, its collector removed it without "
        "clearing the "
        "index: a phantom child.",
        ("ctr -n NAMESPACE snapshots tree",),
        "Remove the image that owns the parent: garbage collection of a whole image still works. Update containerd when the fix is "
        "released.",
        ("E04", "K2"),
    ),
    Message(
        "parent-directory-gone",
        _CONTAINERD,
        r"failed to stat parent|failed to mount rootfs component|snapshots/\d+(/fs)?: no such file|lstat (\.\.\."
        r"|\S*snapshots/\S*) ?.*no such file",
        ("layer-missing",),
        "metadata.db lists the snapshot as committed, but its directory is gone.",
        ("ls ROOT/io.containerd.snapshotter.v1.overlayfs/snapshots/NUMBER", "ctr -n NAMESPACE snapshots ls"),
        "Remove all images and containers that share it, then pull again: pulling one of them does not rebuild it.",
        ("E06", "K6"),
    ),
    Message(
        "parent-snapshot-unknown",
        _CONTAINERD,
        r"parent snapshot \S* ?does not exist",
        ("parent-missing", "layer-missing"),
        "A layer was removed (garbage collection, another rmi) while a pull was about to build on it. Mostly a race: nothing is "
        "left on disk.",
        ("ctr -n NAMESPACE snapshots ls",),
        "Pull again. If it fails each time, the two databases disagree: `linktrail check` names the snapshot.",
        ("E07",),
    ),
    Message(
        "disk-full",
        "all",
        r"no space left on device|disk quota exceeded|\benospc\b",
        ("filesystem-filling", "inodes-filling", "unaccounted-layer", "unreferenced-layer", "deleted-open-file"),
        "The filesystem has no free blocks, or no free inodes. What was being written now is mostly left behind, incomplete.",
        ("df -h ROOT", "df -i ROOT", "linktrail check --min-age 0 ROOT"),
        "Free what nothing needs: `linktrail check` lists it with sizes, and says whether each is safe to remove.",
        ("D04", "D01"),
    ),
    Message(
        "nothing-to-free",
        "kubelet",
        r"wanted to free \d* ?\S* ?bytes,? but freed|found \d+ bytes eligible to free|imagegcfailed|freediskspacefailed",
        ("unaccounted-layer", "unreferenced-layer", "external-container", "filesystem-filling"),
        "The filesystem is over its threshold, and nothing on it is an unused image that the kubelet knows: it is leaked layers, writable "
        "layers, logs, or data of others on the same filesystem.",
        ("df -h ROOT", "linktrail check ROOT", "du -xsh ROOT/*"),
        "Let `linktrail check` name what nothing needs; what it does not name is used, or is not in the store.",
        ("F01",),
    ),
    Message(
        "image-filesystem-capacity",
        "kubelet, cri-dockerd",
        r"invalid capacity 0 on image filesystem",
        (),
        "The runtime reports the size of the wrong directory, or reported before it was ready. The store is healthy, but image garbage "
        "collection may never start.",
        ("crictl imagefsinfo", "df -h ROOT"),
        "Compare both numbers; correct the runtime's root in its configuration.",
        ("F04",),
    ),
    Message(
        "containerd-timeout",
        "docker",
        r"failed to start containerd: timeout",
        (),
        "dockerd was killed and its containerd is still ending. No damage by itself; but what was being written is left incomplete.",
        ("linktrail check --min-age 0 ROOT",),
        "Start dockerd again.",
        ("D2",),
    ),
    Message(
        "type-change",
        "docker, buildah, kaniko",
        r"mkdir .*file exists|\bescapes\b",
        ("escaping-symlink", "layer-content-modified"),
        "A path is a symbolic link in one layer and a directory in another (or leads out of the root): the layers do not fit on "
        "each other. The "
        "image was built so.",
        ("linktrail whatis PATH ROOT", "linktrail check --all-links ROOT"),
        "Have the image rebuilt; the store need not be repaired.",
        ("G03",),
    ),
    Message(
        "program-cannot-run",
        "all",
        r"exec format error|input/output error|structure needs cleaning",
        ("zero-length-files", "layer-content-digest", "layer-content-modified"),
        "A program of an image is empty or damaged, as after an unclean shutdown: the layer was recorded before its files were on disk.",
        ("linktrail check --contents ROOT", "dmesg | grep -iE 'i/o error|ext4|xfs'"),
        "If the kernel reports the disk, replace it first. Else remove every image that shares the layer, then pull again.",
        ("B06", "E08"),
    ),
)
