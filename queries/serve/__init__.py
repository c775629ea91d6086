"""``linktrail serve``: the history as web pages, rendered here, for people who got a link in an incident channel.

Every page is a GET whose address says all that was asked, so that it can be pasted. ``guard`` lets in whom the page is for, ``lake_cache``
keeps one snapshot of the lake open, ``pages`` asks, ``tables`` makes rows into cells with links, ``app`` puts them together. Scripts only
help (focus, copying a link); pages work without them. SQL runs in the sandbox of ``linktrail sql``.
"""
