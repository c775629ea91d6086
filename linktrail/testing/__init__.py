"""Helpers that ship with the product: a fake clock and builders of stores, for linktrail's tests and for other people's."""
