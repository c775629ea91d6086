"""bolt (bbolt) files, read without a lock and without the library: containerd, BuildKit and podman keep their records in them.

``pages`` knows the bytes of a page, ``tree`` the B+ trees and nested buckets made of pages, ``reader`` the file under a live writer.
Source of the format: go.etcd.io/bbolt, internal/common (page.go, meta.go, inode.go); checked against files written by it.
"""

from __future__ import annotations

from collector.stores.bolt.pages import Defect
from collector.stores.bolt.reader import BoltFile, Copy, Image, copied, root_of, signature_of, transaction_of
from collector.stores.bolt.tree import Bucket, Node, Value, entries

__all__ = [
    "BoltFile",
    "Bucket",
    "Copy",
    "Defect",
    "Image",
    "Node",
    "Value",
    "copied",
    "entries",
    "root_of",
    "signature_of",
    "transaction_of",
]
