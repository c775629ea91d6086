"""``--contents``: the files of every image layer against the layer's tar-split, the engine's own record of what it unpacked.

The tar-split of a layer holds every header of the original archive. Compared are the names, the type, the size of regular files and
the **targets of symbolic links** (which no engine's checker compares); then the archive is put together again from the files and
its digest compared with the recorded one, which catches a change that keeps the size. Not compared, because they differ in
healthy stores: modes of symbolic links, times of directories, owners (user namespaces shift them).

One finding a layer and kind of damage: ``zero-length-files`` (what an unclean shutdown leaves), ``layer-symlink-retargeted``,
``layer-content-modified``, and ``layer-content-digest`` only where nothing else explains it. Writable layers have no tar-split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from collector.contents.compare import Difference, compare
from collector.contents.tar_split import TarSplitError, TarSplitReader
from collector.findings import Finding
from collector.links import Link, LinkKind, LinkState, Survey
from collector.safe import Directory, open_root, step_into, words
from collector.stores.protocol import Progress
from linktrail.codes import CODES

_SHOWN: Final = 20
_REPULL: Final = (
    "The layer is recorded as complete, so pulling the image again reuses it as it is: remove every image that shares the layer "
    "(related), then pull again. Files of a writable layer above are not touched by that, but its container must be made anew."
)


def check_contents(survey: Survey, additional: Sequence[Survey], progress: Progress) -> Iterator[Finding]:
    """Yield what differs in the layers of ``survey``. What cannot be compared is passed over: other checks speak of it."""
    del additional  # their layers are checked with their own survey
    layers = [link for link in survey.of_kind(LinkKind.LAYER_RECORD) if link.state is LinkState.PRESENT]
    splits = {link.subject for link in survey.of_kind(LinkKind.DATA_FILE) if link.path.endswith(".tar-split.gz")}
    images = _images_by_layer(survey)
    with open_root(Path(survey.root)) as root:
        for number, layer in enumerate(layers):
            progress("contents", number, len(layers))
            if layer.subject in splits:
                yield from _check_layer(root, layer, images.get(layer.subject, ()), read_only=survey.read_only)
    progress("contents", len(layers), len(layers))


def _check_layer(root: Directory, layer: Link, images: tuple[str, ...], *, read_only: bool) -> Iterator[Finding]:
    try:
        with step_into(root, "overlay", layer.subject, "diff") as diff:
            if diff is None:
                return
            found = compare(diff, TarSplitReader(root, layer.subject), layer.detail.get("diff_digest"))
    except TarSplitError as error:
        yield _finding(
            "layer-data-missing", layer, images, f"The tar-split of layer {layer.subject} is damaged: {error}.", {}, read_only=read_only
        )
        return
    except OSError as error:
        yield _finding(
            "layer-content-modified",
            layer,
            images,
            f"The files of layer {layer.subject} cannot be compared with their record: {words(error)}.",
            {"error": words(error)},
            read_only=read_only,
        )
        return
    yield from (_finding(code, layer, images, text, evidence, read_only=read_only) for code, text, evidence in _say(layer, found))


def _say(layer: Link, found: Difference) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (code, message, evidence) for each kind of damage in one layer."""
    name = f"layer {layer.subject}"
    if found.emptied:
        text = f"{len(found.emptied)} file(s) of {name} are empty although the layer's record gives them content."
        yield "zero-length-files", text, {"files": found.emptied[:_SHOWN], "count": len(found.emptied)}
    if found.retargeted:
        path, was, now = found.retargeted[0]
        text = f"{len(found.retargeted)} symbolic link(s) of {name} point elsewhere than recorded, first {path}: {was} is now {now}."
        shown = [{"path": path, "recorded": was, "found": now} for path, was, now in found.retargeted[:_SHOWN]]
        yield "layer-symlink-retargeted", text, {"links": shown, "count": len(found.retargeted)}
    if found.added or found.missing or found.changed:
        text = (
            f"The files of {name} are not those its image brought: {len(found.added)} added, {len(found.missing)} missing, "
            f"{len(found.changed)} changed."
        )
        evidence = {"added": found.added[:_SHOWN], "missing": found.missing[:_SHOWN], "changed": found.changed[:_SHOWN]}
        yield "layer-content-modified", text, {key: value for key, value in evidence.items() if value}
    if found.digest is not None:
        text = f"The files of {name} have the recorded names and sizes, but other content: the regenerated diff has another digest."
        yield "layer-content-digest", text, {"recorded": layer.detail.get("diff_digest"), "found": found.digest}


def _finding(code: str, layer: Link, images: tuple[str, ...], text: str, evidence: dict[str, Any], *, read_only: bool) -> Finding:
    return Finding(
        code=code,
        severity=CODES[code].severity,
        subject_kind="layer",
        subject=layer.subject,
        path=f"overlay/{layer.subject}/diff",
        message=text,
        advice=_REPULL,
        related=images,
        read_only=read_only,
        evidence=evidence,
        owner=layer.owner,
    )


def _images_by_layer(survey: Survey) -> dict[str, tuple[str, ...]]:
    """Return which images reach each layer."""
    parents = {link.subject: link.target for link in survey.of_kind(LinkKind.PARENT_POINTER)}
    reached: dict[str, list[str]] = {}
    for link in survey.of_kind(LinkKind.IMAGE_LAYER):
        layer, seen = link.target, set[str]()
        while layer is not None and layer not in seen:
            seen.add(layer)
            reached.setdefault(layer, []).append(link.subject)
            layer = parents.get(layer)
    return {layer: tuple(sorted(set(images))) for layer, images in reached.items()}
