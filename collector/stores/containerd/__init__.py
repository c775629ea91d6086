"""containerd: the store of Kubernetes, k3s, RKE2, nerdctl and of Docker's containerd image store, as files.

The driver reads two kinds of bolt files (``meta.db``, and a ``metadata.db`` for each snapshotter) without a lock, and directories; it asks
no engine. ``records`` decodes one object, ``metadata`` and ``snapshotter`` whole files, ``leaves`` keeps what was made of unchanged pages,
``ownership`` says who owns what, ``meta_links``, ``snapshotter_links`` and ``directories`` make the links, ``survey`` puts them together,
``version`` does so for one transaction, ``watching`` says what to watch and what a change means.

A snapshot has three names: the number of its directory (``115``), its key in metadata.db (``default/122/k2``), and its name in meta.db
(``k2``, or a chain id). **In links a layer is its key**, the only one of the three that both databases know and that is unique over
namespaces; with another snapshotter than overlayfs, keys and numbers are written ``<snapshotter>:<key>``. A commit gives a snapshot
another key; number and directory stay.

Links (paths relative to the root; inside a database: the file, ``#``, then the buckets below ``v1``):

* STORE_ROOT: as in containers-storage. detail {device}
* METADATA_FILE: subject=path; state present, missing (though it is needed), malformed or unreadable; detail {error}; facts {size,
  mtime_ns}
* LAYER_RECORD, path metadata.db: subject=key, target=number (none where the snapshotter keeps no directories), layer_id=key; detail
  {id, kind: view|active|committed, namespace, name, snapshotter, diff_size, inodes (recorded usage, committed only), created, updated,
  labels, faults}; facts {created_ns, updated_ns}
* LAYER_RECORD, path meta.db: subject=key, no target; detail {namespace, snapshotter, name, created, updated, labels, faults}. A
  snapshot that has only one of the two records is one on which the databases disagree
* LAYER_NAME, path meta.db#<ns>/snapshots/<snapshotter>: subject=name, target=key
* LAYER_DIRECTORY, path .../snapshots/<N>: subject=number (qualified as keys are), layer_id=key of the record with that number; inode;
  detail {diff (the fs directory is there), work}; facts {mtime_ns, ctime_ns, diff_mtime_ns, device}; malformed: detail {type, to}
* TEMPORARY_DIRECTORY: subject=new-* or rm-<N> in the same place; target=N of rm-<N>
* PARENT_POINTER: subject=key, target=key of the parent, once with path metadata.db and once with meta.db; detail {name} in meta.db
* CHILD_POINTER, path metadata.db#parents/<n>/<m>: subject=key of parent (its number where no snapshot has it), target=key of the child
* CHILD_POINTER, path meta.db#<ns>/snapshots/<s>/<parent>/children/<name>: subject=key of parent, target=key of the child, or its name
  where no snapshot has it (a phantom child); detail {name}
* IMAGE_NAME, path meta.db#<ns>/images: subject=name, target=digest; detail {namespace, created, updated, labels}
* IMAGE_RECORD, same path: subject=digest of the manifest or index; detail {namespace, media_type, size}
* IMAGE_LAYER, path of the label that says so (on an image configuration): subject=digest, target=key of the top snapshot; one for each
  platform and snapshotter
* CONTAINER_RECORD, path meta.db#<ns>/containers: subject=id; detail {namespace, engine, image, snapshotter, snapshot, runtime, sandbox,
  sandbox_gone (true: nothing records that sandbox), created, updated, labels}; CONTAINER_LAYER target=key, CONTAINER_IMAGE target=digest
  of the image whose top it stands on, else of the image with that name
* LEASE, path meta.db#<ns>/leases/<id>: the lease itself, no target; and one for each thing held, path .../snapshots/<s>/<name> and the
  like, target=key, digest, reference or image name; detail {namespace, expires, flat, kind, name}; facts {created_ns}
* LABEL_REFERENCE, path of the label: subject=what bears it (key, digest, image name, container id); target=what it refers to, itself
  for gc.root and gc.expire; detail {object, label, value, back: true for gc.bref.* (it lives as long as its target)}
* CONTENT, path meta.db#<ns>/content/blob: subject=digest, the record; path .../blobs/<algorithm>/<hex>: the file (inode; detail {size})
* INGEST, path meta.db#<ns>/content/ingests: subject=reference, target=reference in the content store; detail {expires, expected}. Path
  .../ingest/<hash>: subject=hash, target=reference as its ref file says; detail {total, started}; facts {mtime_ns, size, updated}

All that belong to a layer, image or container carry ``owner``.
"""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock
from typing import Final

from collector.links import Link, StoreKind, Survey
from collector.safe import is_root
from collector.stores.containerd.layout import usual_roots
from collector.stores.containerd.survey import State, is_store, read_store
from collector.stores.containerd.version import version_links
from collector.stores.containerd.watching import interpret, plan
from collector.stores.protocol import Change, Meaning, Progress, WatchPlan, no_progress
from linktrail.clock import Clock

__all__ = ["DRIVER", "Containerd"]

_ROOTS_KEPT: Final = 8


class Containerd:
    """The driver; see ``collector.stores.protocol.Driver``.

    It remembers, for the roots read last, the bytes of their databases and what it made of them, so that reading again costs what changed.
    """

    kind = StoreKind.CONTAINERD_OVERLAYFS

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._states: dict[str, State] = {}
        self._lock = Lock()

    def detect(self, root: Path) -> bool:
        """Tell whether ``root`` holds containerd's databases. Never raises."""
        return is_root(root, is_store)

    def usual_roots(self) -> tuple[Path, ...]:
        """Return where containerd, k3s, RKE2, microk8s and Docker keep it."""
        return usual_roots()

    def watch_plan(self, root: Path) -> WatchPlan:
        """Return what to watch now: databases, then the directories of snapshots, then the rest. Raises ``NoStoreError``."""
        return plan(root)

    def survey(self, root: Path, *, clock: Clock, progress: Progress = no_progress) -> Survey:
        """Read the whole graph. Raises ``NoStoreError``, ``StoreUnreadableError`` or ``StoreUnstableError``."""
        name = os.fspath(root)
        with self._lock:
            state = self._states.pop(name, None) or State()
        survey, state = read_store(root, clock=clock, progress=progress, state=state)
        with self._lock:
            self._states[name] = state
            while len(self._states) > _ROOTS_KEPT:
                del self._states[next(iter(self._states))]
        return survey

    def interpret(self, root: Path, change: Change) -> Meaning:
        """Say what ``change`` means."""
        return interpret(root, change)

    def version(self, path: str, data: bytes, survey: Survey) -> tuple[Link, ...] | None:
        """Return what one transaction of a database states."""
        return version_links(path, data, survey)


DRIVER: Final = Containerd()
