"""What to do about a finding in a containerd store, in containerd's own commands (ctr, crictl, nerdctl).

They rest on what containerd was seen to do: its garbage collector runs after a deletion, after a hundred changes and shortly after a
start, never by the clock alone; it removes what no root reaches, and each removal of a snapshot also clears every directory that no record
names. So the least invasive step is often to let it run, which ``ctr leases create`` and ``ctr leases delete --sync`` bring about without
touching anything else.
"""

from __future__ import annotations

from collector.diagnose.advice import Advice


class ContainerdAdvice(Advice):
    """Advice for one containerd root."""

    def metadata_unreadable(self, path: str) -> str:
        """A bolt database that does not parse, or is gone."""
        return (
            "Remove nothing and do not restart containerd: it may still hold the content, and without it starts over with an"
            f" empty one. Next: copy {self.at(path)} and what lies beside it, then put back a copy from a backup, or drain the node and"
            " rebuild this containerd root."
        )

    def leftover_tempdir(self, path: str, name: str) -> str:
        """A directory of a snapshot in the making or on its way out."""
        return (
            f"Safe to remove if {self.unmounted(name)}: no record can name it. Next: nothing by hand; containerd clears it with the next"
            f" removal of any snapshot. If it stays after that, look in containerd's log for why, then rm -rf {self.at(path)}"
        )

    def cycle(self) -> str:
        """A snapshot that is its own ancestor."""
        return (
            "Remove nothing: containerd may loop over these records. Next: stop containerd, copy its databases, and rebuild this root from"
            " the registry: no command of containerd mends a parent."
        )
