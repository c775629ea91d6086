"""Configuration: flags over ``LINKTRAIL_*`` variables over a file over defaults, all from one declared table.

``table`` declares every setting; ``kinds`` says how each kind of value is written and checked; ``file`` reads TOML and names what is wrong
with its line; ``resolve`` puts the sources together and keeps where each value came from; ``verb`` is ``linktrail config``.

How it reaches the programs. The file is a second environment below the first: while a verb runs, values of the file stand under the
names of their variables, so a flag's ``envvar`` and every other reader of a variable finds them, in the same order everywhere.
"""
