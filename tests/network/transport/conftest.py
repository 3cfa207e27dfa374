"""Fixtures of the transports' tests."""

from support.network.udp_cases import homes, keyed, lab

__all__ = ["homes", "keyed", "lab"]
