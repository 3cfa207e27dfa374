"""Fixtures of the UDP transport's tests."""

from support.network.udp_cases import homes, keyed, lab

__all__ = ["homes", "keyed", "lab"]
