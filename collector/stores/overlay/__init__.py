"""What the overlay directories of containers/storage and of Docker's overlay2 have in common.

Both engines keep a layer as a directory with ``diff``, ``link`` and ``lower``, and a directory ``l`` of short symbolic links to
them, because the kernel bounds the length of mount options. ``names`` knows the forms of these names, ``layers`` reads the
directories, ``parts`` is the piece in which a store is read, and read again when it changed meanwhile.
"""
