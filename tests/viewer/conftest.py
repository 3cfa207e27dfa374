"""Fixtures of this folder."""

from __future__ import annotations

import pytest

from somacast.viewer.feed import PersonFeed
from somacast.viewer.guard import Bucket
from somacast.viewer.server import MAX_CLIENTS, ViewerServer
from support.network.viewer_cases import GLB, TOKEN, wait_until


@pytest.fixture(scope="module")
def running():
    with ViewerServer(PersonFeed(), token=TOKEN, allow_picture=True) as server:
        yield server


@pytest.fixture
def served(running):
    """A server with a feed of its own for each test, and nobody there."""
    running.feed = PersonFeed(snapshot=lambda: GLB)
    running._snapshots, running._offers = Bucket(2.0, 5), Bucket(2.0, MAX_CLIENTS)
    yield running
    wait_until(lambda: running.clients == 0)
