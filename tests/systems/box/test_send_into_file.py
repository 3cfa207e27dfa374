"""`send` into a file: paced by the source and whole, whatever ends it; with the smallest system there is."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from somacast.cli.main import main
from somacast.network.transport.file import FileReceiver
from somacast.pipeline.video.files import read_video

pytest.importorskip("av")
SEND = ["send", "--system", "box"]


def sent(out: Path, *words: str) -> tuple[int, np.ndarray]:
    """Exit code, and times of the frames of what was sent into a file."""
    code = main([*SEND, *words, "--to", str(out)])
    return code, read_video(out.read_bytes()).times_s


@pytest.mark.parametrize("fps", [4, 60])
def test_every_frame_is_there_at_its_own_time_and_nobody_waits(fps: int, tmp_path: Path, monkeypatch) -> None:
    """As fast as it can be looked at, slower or quicker than it was taken: nothing is dropped for it."""
    waits = []
    monkeypatch.setattr(threading.Event, "wait", lambda self, timeout=None: waits.append(timeout) or self._flag)
    code, times_s = sent(tmp_path / "a.soma", "synthetic:walking", "--seconds", "0.5", "--fps", str(fps))
    assert code == 0 and times_s == pytest.approx(np.arange(fps // 2) / fps, abs=1e-5)
    assert not [one for one in waits if one], "nobody waits for a frame's time"


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 0), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_what_ends_it_leaves_a_whole_file(name: str, code: int, tmp_path: Path) -> None:
    out, done = tmp_path / "a.soma", threading.Event()

    def end() -> None:
        part = tmp_path / "a.part.soma"
        while not done.wait(0.02):
            if part.exists() and part.stat().st_size > 200:
                os.kill(os.getpid(), getattr(signal, name))
                return

    thread = threading.Thread(target=end)
    thread.start()
    try:
        found, times_s = sent(out, "synthetic:walking", "--seconds", "600", "--fps", "10")
    finally:
        done.set()
        thread.join()
    assert found == code and [path.name for path in tmp_path.iterdir()] == ["a.soma"]
    assert 1 < len(times_s) < 6000 and np.diff(times_s) == pytest.approx(0.1, abs=1e-5), "without a hole"
    assert main(["info", str(out)]) == 0


def test_upper_case_is_a_file_too(tmp_path: Path) -> None:
    code, times_s = sent(tmp_path / "A.SOMA", "synthetic:walking", "--seconds", "0.2")
    assert code == 0 and len(times_s) == 6
    FileReceiver(tmp_path / "A.SOMA").close()
