"""Faults that are the user's to know about: one line that says what was expected and what came."""

from __future__ import annotations


class SomacastError(ValueError):
    """Bad input from the user: one line that says what was expected and what came."""


class BitstreamError(SomacastError):
    """A stream that cannot be decoded: damaged, cut, foreign, from other weights or a newer version."""
