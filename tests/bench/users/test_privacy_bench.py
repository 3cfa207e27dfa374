"""The measurements of users' machines: what they count, on commands that do too much and on quick ones."""

from __future__ import annotations

import sys

import pytest

from somacast.bench.users import privacy, starts
from somacast.bench.users.watch import unavailable
from somacast.errors import SomacastError

CHATTY = """
import os, pathlib, socket
open("named.soma", "w").close()
for work in (socket.socket, lambda: socket.getaddrinfo("somewhere.example", 80)):
    try:
        work()
    except OSError:
        pass
folder = pathlib.Path.home() / ".cache" / "stranger"
folder.mkdir(parents=True)
(pathlib.Path.home() / "id").touch()
"""


@pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))
def test_a_command_that_talks_is_counted(monkeypatch, tmp_path):
    """In the place of somacast stands a program that asks for a name and leaves files."""
    (tmp_path / "somacast.py").write_text(CHATTY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(privacy, "COMMANDS", {"chat": ("chat",)})
    found = privacy.measure()
    assert found["sockets"] >= 1 and found["look_ups"] >= 1 and found["files_elsewhere"] == 2
    assert found["commands"].keys() == {"chat"}
    (tmp_path / "somacast.py").write_text("raise SystemExit('broken')")
    with pytest.raises(SomacastError, match="chat: failed with code 1: broken"):
        privacy.measure()


def test_starts_are_told_apart(monkeypatch, tmp_path):
    """In the place of somacast stands a program that is slow where it finds nothing in its cache."""
    (tmp_path / "somacast.py").write_text("""
import os, pathlib, time
cache = os.environ["SOMACAST_CACHE"]
if cache == "off" or not os.path.exists(cache):
    time.sleep(0.4)
if cache != "off":
    pathlib.Path(cache).mkdir(parents=True, exist_ok=True)
    pathlib.Path(cache, "kernel").write_bytes(bytes(7))
""")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = starts.measure(1)
    assert found["cache_bytes"] == 14
    for verb in ("encode", "decode"):
        row = found[verb]
        assert row["cold_s"] > 0.4 < row["uncached_s"] and row["warm_s"] > 0 and row["cold_cpu_s"] < 0.4
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SomacastError, match="failed with code 1"):
        starts.measure(1)
