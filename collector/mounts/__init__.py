"""What the kernel holds of a store: mounts made of its layers, and deleted files that processes keep open.

Neither is written in the store, so both are read from ``/proc``, and added to a survey as links like any other: ``mountinfo`` parses one
mount table, ``namespaces`` reads those of all mount namespaces, ``holders`` the open files, ``places`` knows under which names the
kernel speaks of a store's layers, ``links`` makes the links, ``machine`` puts it together and remembers.

All of it is optional. Where the store is not one of this machine (a dead disk, a copy) or ``/proc`` cannot be read, it is off, and that
is said.
"""
