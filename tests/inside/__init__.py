"""Tests of what is recorded inside writable layers."""
