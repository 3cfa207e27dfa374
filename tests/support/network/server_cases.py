"""Shared by test_server.py and test_server_sockets.py."""

from __future__ import annotations

import pytest

httpx = pytest.importorskip("httpx")
