"""Answers with a form of their own, as functions, one module each; every other question of the catalog is ``answer.ask``.

Each takes a lake (its path, or an engine that is open already) and instants in ns UTC, and returns an ``Answer``: rows for programs, the
same rows shorter for eyes, and whether the record was complete in the asked time. All raise ``LakeMissingError``, ``LakeNewerError`` and
``LakeError``.
"""
