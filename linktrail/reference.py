"""Reference pages written from the tables in the code, so that they cannot say anything else.

``python -m linktrail.reference docs`` writes the pages; a test fails when one of them is stale.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from linktrail import errors
from linktrail.codes import CODES
from linktrail.config.pages import configuration_page, example_file
from linktrail.schema import SCHEMA_VERSION, TABLES
from linktrail.telemetry.table import metrics_page

_CONTENTS = """
## What `--contents` compares

Each image layer with the engine's own record of what it unpacked: the tar-split (containers-storage, docker), or the layer's blob in
containerd's content store. Compared are names, types, sizes, modes, owners, hard links, targets of symbolic links, a checksum of every
file, and the digest of the archive put together again. A layer whose record is not there (containerd may discard blobs once they are
unpacked) cannot be compared: no finding, but `stores[].contents` of the document counts it with the reason.

Likewise the big data of images and containers (manifests, configurations) with the digests in their records, in containers-storage:
`image-data-modified` and `container-data-modified` compare sizes always, content only here.

Silent, because healthy stores have it: modes of symbolic links, times, owners that a user namespace or `ignore_chown_errors`
shifted throughout the layer, modes and owners that `force_mask` moved into an attribute, device nodes an unprivileged engine could not
make, whiteouts more or less, and the empty places that engines make for their mounts (`/etc/hosts`, `/dev/console`, ...).

## What the kernel holds

Mount tables of all mount namespaces and open files of all processes are read below `/proc` (`--proc DIR`, in a pod the host's), as far
as this user may see them. A mount counts for a store when its layers, or its mount point, lie in that store, whatever name the
engine's namespace has for it.

* `orphan-mount`: a layer that no image, container, lease or label needs is mounted (after the grace period); or a layer was removed under
  its mount (at once, confirmed by a second look: no engine does that in normal work). Evidence: namespaces with processes, device, layers.
* `deleted-open-file`: of a layer that is gone or that nothing needs, any deleted file that a process keeps open; of a running container,
  from 1 MiB in all, as programs work with deleted temporary files; likewise of a directory that the engine keeps beside the layers
  (downloads, logs, volumes). Bytes are allocated bytes, each file once. After a lazy unmount the
  kernel names the overlay nowhere any more: the recorder remembers its layer; `check` tells it by its device, for the store on whose
  filesystem it lies (size and number of inodes are equal) and that an engine here uses. Files that are only mapped are not looked for.

It is off, and said to be (`stores[].mounts` of the document), on a filesystem that is mounted read-only, where no namespace below the given
`/proc` has the store, where `/proc` cannot be read, and with `--proc off`.

## When a symbolic link is a finding

Links are resolved in the merged layers, as the container sees them: whiteouts and opaque directories hide, absolute targets start at the
container's root, `..` at the root stays there, 40 links are followed. What leads below `/proc`, `/sys`, `/dev` or `/run`, or to
where a container has something mounted (as podman, CRI-O and Docker keep its configuration), is provided at run time and never dangles.

Images are shipped with links that dangle or climb out, and run well. So by default a link is a finding only with evidence that it was not
so when the image was pulled:

* `dangling-symlink`: what it points to is in a layer's record but gone from disk, or is hidden by a whiteout or an opaque directory that
  the record of its layer does not know. The subject is the layer that holds the link, the layer that broke it is related.
* `escaping-symlink`: it climbs above the root, and was added to an image layer or points elsewhere than recorded (warning), or
  a container made it in its writable layer (info: harmless to the container, not to whoever follows it from the host).

What a container deletes in its own writable layer breaks no image and is silent. A link that is not as recorded and dangles is told once,
as `layer-symlink-retargeted` or `layer-content-modified`. `linktrail check --all-links` names all other links that resolve to nothing or
climb out as well, as info: which ones an image was shipped with, and what a container broke for itself.
"""
_GRACE_WORDS = {"none": "none", "transient": "10 min", "unreferenced": "24 h"}


def schema_page() -> str:
    """Return the page of the four tables."""
    lines = [
        "# Schema",
        "",
        f"Schema version {SCHEMA_VERSION}. From `linktrail/schema.py`; Parquet files, SQL views and JSON output have these columns.",
        "Times are UTC with microseconds. A change happened between `occurred_after` and `occurred_before`.",
        "",
    ]
    for table in TABLES.values():
        lines += [f"## `{table.name}`", "", f"A row is {table.row}.", "", "| column | type | null | meaning |", "| --- | --- | --- | --- |"]
        lines += [
            f"| `{column.name}` | {column.type} | {'yes' if column.nullable else 'no'} | {column.meaning} |" for column in table.columns
        ]
        lines.append("")
    return "\n".join(lines)


def findings_page() -> str:
    """Return the page of the finding codes."""
    lines = [
        "# Finding codes",
        "",
        "Stable for ever; scripts match on them. Grace is how old a thing must be before it is called a finding, so that a running",
        "pull, build or removal is not one; `--min-age` overrides it. The record itself knows no grace.",
        "",
        "| code | family | severity | grace | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| `{code.name}` | {code.family} | {code.severity} | {_GRACE_WORDS[code.grace]} | {code.meaning} |" for code in CODES.values()
    ]
    return "\n".join([*lines, _CONTENTS])


def exit_codes_page() -> str:
    """Return the page of exit codes and the errors behind them."""
    lines = [
        "# Exit codes",
        "",
        "| code | meaning |",
        "| --- | --- |",
        "| 0 | ok |",
        "| 1 | failure |",
        "| 2 | usage |",
        "| 3 | answered, but the history has gaps in the asked range |",
        "| 4 | findings present (`check`) |",
        "| 10 | no store found |",
        "| 11 | lake unavailable |",
        "| 12 | integrity check failed |",
        "| 130 | interrupted |",
        "",
        "An unknown code means failure. With `--json` a failure is one JSON object on standard error:",
        "`error`, `message`, `hint`, `exit_code`.",
        "",
        "| error | exit code | message |",
        "| --- | --- | --- |",
    ]
    lines += [f"| `{kind.__name__}` | {kind.exit_code} | {(kind.__doc__ or '').splitlines()[0]} |" for kind in _errors()]
    return "\n".join([*lines, ""])


def _errors() -> Iterator[type[errors.LinktrailError]]:
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.LinktrailError) and kind is not errors.LinktrailError:
            yield kind


PAGES = {
    "schema.md": schema_page,
    "findings.md": findings_page,
    "exit-codes.md": exit_codes_page,
    "configuration.md": configuration_page,
    "metrics.md": metrics_page,
    "../deploy/linktrail.toml": example_file,
}


def main(directory: Path) -> None:
    """Write every page below ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (directory / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
