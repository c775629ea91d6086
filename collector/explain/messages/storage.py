"""Messages of containers/storage: records, chains, removals, and what its own checker prints (podman, CRI-O, buildah)."""

from __future__ import annotations

from typing import Final

from collector.explain.messages.message import Message

_STORAGE: Final = "podman, CRI-O, buildah"
_CHECKER: Final = "podman system check, containers-storage check, crio check"
_CONTENTS: Final = ("linktrail check --contents ROOT",)

STORAGE: Final = (
    Message(
        "top-layer-not-found",
        _STORAGE,
        r"top layer \S* ?not found in layer tree",
        ("image-layer-missing",),
        "The image's top layer has no record in layers.json any more.",
        ("jq -r '.[].id' ROOT/overlay-layers/layers.json | grep LAYER",),
        "Remove the record of this one image (podman rmi --force IMAGE) and pull it again; nothing else need be reset.",
        ("B02",),
    ),
    Message(
        "layer-not-known",
        _STORAGE,
        r"layer not known|retrieving label for image",
        ("image-layer-missing", "parent-missing", "container-layer-missing"),
        "images.json or containers.json names a layer that layers.json does not have: the files reached the disk at different times.",
        ("jq -r '.[].layer' ROOT/overlay-images/images.json", "jq -r '.[].id' ROOT/overlay-layers/layers.json"),
        "Keep the layer's directory if it is still there. Remove the images and containers that need the layer, and pull again; no wipe is "
        "needed.",
        ("B01", "C16"),
    ),
    Message(
        "incomplete-layer",
        _STORAGE,
        r"found incomplete layer|deleting incomplete layer|nil pointer.*incomplete|incomplete.*nil pointer",
        ("incomplete-layer",),
        "A pull, build or removal ended in the middle: a layer is recorded as incomplete. The engine deletes it, and the evidence, "
        "at its next "
        "command, even a listing one.",
        ("jq '.[] | select(.flags.incomplete)' ROOT/overlay-layers/*layers.json",),
        "Nothing if no image needs it. If every command panics on it, update containers/storage (fixed after 1.56).",
        ("B03", "B04", "C1", "C3"),
    ),
    Message(
        "stale-tempdir",
        _STORAGE,
        r"stale temp dir|tempdirs?/temp-dir-\S*.*(not empty|busy)",
        ("leftover-tempdir", "orphan-mount"),
        "A removed layer waits in tempdirs/ and cannot be deleted, mostly because its merged directory is still mounted somewhere.",
        ("ls ROOT/overlay/tempdirs", "grep -l tempdirs /proc/*/mountinfo"),
        "Unmount it in the namespace that holds it; then the engine clears the directory itself.",
        ("B07",),
    ),
    Message(
        "mounted-layer-in-use",
        _STORAGE,
        r"a layer is mounted: layer is in use by a container",
        (),
        "The checker found a mounted layer. This is no damage; but the checker force-unmounts the layer in this very moment, under "
        "a running "
        "container.",
        ("grep -c overlay /proc/mounts",),
        "Do not run that checker while containers run; restart the container if its files have vanished from the host's view.",
        ("B09",),
    ),
    Message(
        "in-use-by-a-container",
        "podman, CRI-O, docker",
        r"image (is )?(in use by|used by|being used by)|in use by a? ?(nonexistent )?container"
        r"|(currently )?in use by a container which does not exist"
        r"|consider listing external containers|image used by",
        ("external-container", "ghost-reference", "interrupted-removal"),
        "A container record holds the image. Each engine lists only its own containers, so one of buildah, or one whose "
        "engine forgot it, is seen by none of them.",
        (
            "jq '.[] | {id, names, image, layer}' ROOT/overlay-containers/*containers.json",
            "podman ps --all --external",
            "buildah containers",
        ),
        "Remove that container with the engine that made it (buildah rm, podman rm --force), then the image. If the container runs, "
        "the image "
        "is rightly kept.",
        ("C01", "C6", "F02"),
    ),
    Message(
        "no-such-container",
        _STORAGE,
        r"no such container|no container with name or id",
        ("metadata-leftover", "unreferenced-layer", "container-layer-missing"),
        "The engine's own database and containers.json disagree: one of them lost the container. Its layer and its directory may be left.",
        ("ls ROOT/overlay-containers", "jq -r '.[].id' ROOT/overlay-containers/*containers.json"),
        "podman rm clears the engine's row; the layer and the directory that stay behind are what `linktrail check` names.",
        ("B11", "C15"),
    ),
    Message(
        "digest-differs",
        _CHECKER,
        r"layer content incorrect (digest|size)|file integrity checksum failed",
        ("layer-content-digest", "layer-content-modified", "zero-length-files"),
        "Files of an image layer have other content than when they were unpacked.",
        _CONTENTS,
        "Remove every image that shares the layer, then pull again: a layer that is recorded as complete is never fetched anew.",
        ("B06",),
    ),
    Message(
        "content-modified",
        _CHECKER,
        r"layer content modified|\(mtime:0x\S*->0x|\(mode:\d+->\d+\)",
        ("layer-content-modified", "layer-content-digest", "zero-length-files"),
        "The checker sees files that differ from the archive. Times of directories (mtime:) and modes of symbolic links (mode:0644->0777) "
        "differ in healthy stores: a known false alarm.",
        _CONTENTS,
        "If `linktrail check --contents` is silent, nothing is damaged: do not let the checker repair (it deletes the image).",
        ("B10", "S7"),
    ),
    Message(
        "unreferenced",
        _CHECKER,
        r"layer not referenced by any images or containers",
        ("unreferenced-layer",),
        "A layer has a record, but no image and no container needs it: an interrupted pull or removal left it.",
        ("linktrail check --min-age 0 ROOT",),
        "containers-storage delete-layer LAYER, unless its link file is empty (then repair that first).",
        ("C2",),
    ),
    Message(
        "not-accounted-for",
        _CHECKER,
        r"not accounted for",
        ("unaccounted-layer",),
        "A layer directory that no record names: left by a killed build or pull. No prune removes it.",
        ("ls ROOT/overlay | wc -l", "jq length ROOT/overlay-layers/layers.json"),
        "Remove the directory by hand while no build or pull runs and nothing has it mounted.",
        ("C02", "C04", "C05", "C14"),
    ),
    Message(
        "data-item",
        _CHECKER,
        r"data item .*missing",
        ("image-data-missing", "layer-data-missing", "container-data-missing"),
        "A data file of a layer, image or container (manifest, configuration, ...) is gone.",
        ("jq '.[] | {id, \"big-data-sizes\"}' ROOT/overlay-images/images.json",),
        "Pull the image again; it is small, its layers are used as they are.",
        ("S3",),
    ),
    Message(
        "data-item-size",
        _CHECKER,
        r"has incorrect size",
        ("image-data-modified", "container-data-modified"),
        "A data file of an image or container has another size than recorded.",
        ("jq '.[] | {id, \"big-data-sizes\"}' ROOT/overlay-images/images.json",),
        "Pull the image again; its layers are used as they are.",
        ("S3",),
    ),
    Message(
        "recorded-thing-missing",
        _CHECKER,
        r"image layer is missing|layer is missing|image missing",
        ("image-layer-missing", "parent-missing", "container-image-missing"),
        "A record names a layer or an image that has no record of its own.",
        ("linktrail check ROOT",),
        "Remove what names it and pull again.",
        ("B01", "B02"),
    ),
    Message(
        "storage-wiped",
        "CRI-O",
        r"wiping storage",
        (),
        "CRI-O found no clean_shutdown file, could not repair what its checker reported, and deleted the whole store. Stale mounts alone "
        "bring it to that.",
        ("journalctl -u crio | grep -ci 'device or resource busy'", "ls ROOT/overlay | wc -l"),
        "The images are gone and will be pulled again. Before the next unclean shutdown: record the store, and set internal_repair "
        "or internal_wipe in crio.conf.",
        ("B08",),
    ),
)
