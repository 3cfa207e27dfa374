"""Standard streams that are closed, broken or full, and signals: nothing is lost, nothing is said where it must not be.

What the system does to a process can be seen in a process alone: those tests take a second each.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from somacast.cli import dispatch, streams
from somacast.cli import main as cli
from somacast.cli.commands import verbs_of
from somacast.cli.live.common import stopping
from somacast.errors import SomacastError

ANSWERS = {"info", "weights", "data check-assets"}  # are asked for what they print
VERBS = {prog.removeprefix("somacast "): verb for prog, verb in verbs_of()}
PYTHON = f'"{sys.executable}"'
posix = pytest.mark.skipif(os.name != "posix", reason="needs the shell and the signals of POSIX")


# -- which stream says what -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VERBS)
def test_stdout_is_for_answers(name, monkeypatch, capsys):
    """Whatever a verb prints, by print or by tables, is status unless it was asked for."""
    from rich.console import Console

    def run(config: Any) -> int:
        print("printed")
        Console().print("drawn")
        sys.stdout.write("written\n")
        return 0

    monkeypatch.setattr(dispatch, "parse", lambda *_: None)
    monkeypatch.setattr(dispatch, "checked", lambda config: config)
    monkeypatch.setattr(dispatch, "standing_in", lambda config: dispatch.contextlib.nullcontext(config))
    assert dataclasses.replace(VERBS[name], run=run)([], name) == 0
    captured = capsys.readouterr()
    said, silent = (captured.out, captured.err) if name in ANSWERS else (captured.err, captured.out)
    assert said == "printed\ndrawn\nwritten\n" and silent == ""


def test_help_is_an_answer_and_has_no_control_characters(capsys):
    for words in (["--help"], ["--version"], ["encode", "--help"], ["bench"], ["data", "synth", "-h"]):
        assert cli.main(words) == 0
        captured = capsys.readouterr()
        assert captured.out and not captured.err
        assert not [char for char in captured.out if ord(char) < 32 and char not in "\n"]


# -- streams that are not there, are gone or are full -----------------------------------------------------------------


def shell(command: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = command.replace("somacast ", f"{PYTHON} -m somacast ")
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, **more)


@posix
@pytest.mark.parametrize(
    ("command", "code", "out", "err"),
    [
        ("somacast weights --json | true; echo ${PIPESTATUS[0]}", 0, "141\n", ""),
        ("somacast keys /proc/no 2>&1 >&- | head -c 8", 0, "somacast", ""),
        ("somacast weights --json >&-", 0, "", ""),
        ("somacast weights --json >&- 2>&- <&-", 0, "", ""),
        ("somacast keys made --name a 2>&-", 0, "", ""),
        ("somacast keys made --name a 2>/dev/full", 0, "", ""),
        ("somacast keys made --name a 2> >(true)", 0, "", ""),
        ("somacast nobody 2>&-", 2, "", ""),
        ("somacast --version >/dev/full", 2, "", "somacast: error: no space left on device\n"),
        ("somacast weights --json >/dev/full", 2, "", "somacast: error: no space left on device\n"),
        ("somacast info - <&-", 2, "", "somacast: error: standard input is closed; expected a file or a pipe\n"),
        ("somacast decode /dev/null -o - --format glb >&-", 2, "", "standard output is closed"),
    ],
)
def test_streams_that_are_closed_broken_or_full(command, code, out, err, tmp_path):
    if "/dev/full" in command and not Path("/dev/full").exists():
        pytest.skip("NOT CHECKED: /dev/full, a full disk to write to, is there on Linux alone")
    if "keys" in command:
        pytest.importorskip("cryptography")
    run = shell(command, cwd=tmp_path)
    assert run.returncode == code, run.stderr
    assert run.stdout == out
    assert run.stderr == err if not err or err.startswith("somacast") else err in run.stderr, run.stderr
    if "made" in command:
        assert (tmp_path / "made" / "a" / "peer.crt").exists()


def test_what_is_opened_next_does_not_become_stdout(tmp_path):
    """A number of a stream that was closed would be given to the next file, and what is printed written into it."""
    code = (
        "import os, sys, somacast.cli.main as m\n"
        "def run(words):\n"
        "    with open(sys.argv[1], 'wb') as file: os.write(1, b'stray'); file.write(b'own')\n"
        "    return 0\n"
        "m._run = run; sys.exit(m.main([]))"
    )
    run = subprocess.run(
        ["bash", "-c", f'{PYTHON} -c "$0" "$1" >&- 2>&- <&-', code, str(tmp_path / "file")], timeout=60
    )
    assert run.returncode == 0 and (tmp_path / "file").read_bytes() == b"own"


class Broken:
    """A stream behind which something is wrong."""

    def __init__(self, fault: Exception):
        self.fault = fault

    def write(self, text: str) -> int:
        raise self.fault

    def flush(self) -> None:
        raise self.fault

    def fileno(self) -> int:
        raise OSError("no file")


@pytest.mark.parametrize("fault", [BrokenPipeError(), OSError(5, "terminal gone"), ValueError("closed file")])
def test_status_never_stops_the_work(monkeypatch, fault):
    def run(words: list[str]) -> int:
        print("status", file=sys.stderr, flush=True)
        return 5

    monkeypatch.setattr(cli, "_run", run)
    monkeypatch.setattr(sys, "stderr", Broken(fault))
    assert cli.main([]) == 5


def test_stderr_is_put_back(monkeypatch):
    before = sys.stderr
    monkeypatch.setattr(cli, "_run", lambda words: 0)
    assert cli.main([]) == 0 and sys.stderr is before


@pytest.mark.parametrize("name", VERBS)
def test_a_reader_that_has_gone_ends_any_verb_quietly(name, monkeypatch, capsys):
    def run(config: Any) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(dispatch, "parse", lambda *_: None)
    monkeypatch.setattr(dispatch, "checked", lambda config: config)
    monkeypatch.setattr(dispatch, "standing_in", lambda config: dispatch.contextlib.nullcontext(config))
    monkeypatch.setattr(cli, "_run", lambda words: dataclasses.replace(VERBS[name], run=run)([], name))
    monkeypatch.setattr(cli, "silence", lambda stream: None)
    assert cli.main(name.split()) == 141
    assert capsys.readouterr() == ("", "")


# -- signals ----------------------------------------------------------------------------------------------------------

BLOCKED = """
import os, sys, time, somacast.cli.main as m
from somacast import files

def fsync(descriptor):
    print("ready", flush=True)
    time.sleep(30)

def run(words):
    os.fsync = fsync
    files.write_atomically(sys.argv[1], b"new")
    return 0

m._run = run
sys.exit(m.main([]))
"""


@posix
@pytest.mark.parametrize(
    ("name", "code", "said"),
    [("SIGTERM", 143, "ended by SIGTERM"), ("SIGHUP", 129, "ended by SIGHUP"), ("SIGINT", 130, "interrupted")],
)
def test_signals_end_a_verb_with_nothing_half_written(tmp_path, name, code, said):
    (tmp_path / "a.soma").write_bytes(b"old")
    process = subprocess.Popen(
        [sys.executable, "-c", BLOCKED, str(tmp_path / "a.soma")], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    assert len(list(tmp_path.iterdir())) == 2
    for _ in range(2 if name == "SIGHUP" else 1):  # a terminal that closes tells it twice
        process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (code, "", f"somacast: {said}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.soma"]
    assert (tmp_path / "a.soma").read_bytes() == b"old"


@posix
def test_what_was_turned_off_stays_off():
    """nohup; and handlers are put back."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with streams.ending():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
            os.kill(os.getpid(), signal.SIGHUP)
            with stopping() as stop:
                os.kill(os.getpid(), signal.SIGHUP)
                assert not stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@posix
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 0)])
def test_sessions_end_by_themselves_and_tell_the_code(name, code):
    with streams.ending(), stopping() as stop:
        os.kill(os.getpid(), getattr(signal, name))
        assert stop.wait(5) and stop.exit_code == code
        os.kill(os.getpid(), signal.SIGTERM)  # comes too late to change how it ended
        assert stop.exit_code == code


def test_a_system_without_these_signals(monkeypatch):
    """Windows has neither SIGHUP nor its like."""
    monkeypatch.delattr(signal, "SIGHUP", raising=False)
    with streams.ending(), stopping():
        assert streams.asking_to_end() == [signal.SIGTERM]


def test_other_threads_have_no_signals():
    found: list[object] = []

    def work() -> None:
        with streams.ending(), stopping() as stop:
            found.append(stop.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]


@posix
def test_a_forked_child_ends_in_its_own_way():
    with streams.ending():
        there, tell = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(tell, b"x")
            time.sleep(30)
            os._exit(0)
        os.read(there, 1)
        os.kill(child, signal.SIGTERM)
        assert os.waitpid(child, 0)[1] == signal.SIGTERM


# -- errors of `-` ----------------------------------------------------------------------------------------------------


def test_streams_that_do_not_fit(capsys, tmp_path):
    for words, expected in [
        (["decode", "-", "-o", "-"], "-: expected --format beside it, one of glb, ply"),
        (["decode", "a.soma", "-o", "-"], "a.soma: no such file"),
        (["encode", "a.jpg", "-o", "a.soma", "--report", "-"], "no such file"),
        (["encode", "-", "-o", "a.soma", "--report", "-"], "-: expected a file name ending in .json"),
        (["encode", "-", "-o", "a.soma", "--mask", "-"], "-: no such file; expected a mask"),
        (["demo", "--image", "-"], "-: no such file"),
    ]:
        assert cli.main(words) == 2
        assert expected in capsys.readouterr().err


@posix
def test_what_comes_in_is_bounded(tmp_path, monkeypatch):
    read, write = os.pipe()
    os.write(write, b"x" * 99)
    os.close(write)
    monkeypatch.setattr(streams, "MAX_INPUT_BYTES", 50)
    with os.fdopen(read, "rb") as stream, pytest.raises(SomacastError, match="-: more than 50 bytes"):
        streams._take(stream, tmp_path / "in", "-")
