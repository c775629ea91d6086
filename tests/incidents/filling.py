"""Families D and F: a filesystem fills, and every tool names another number. ``usage`` is one table that sums to what ``df`` says."""
