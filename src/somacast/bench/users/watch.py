"""What a program and its children ask of the system: sockets, look-ups of host names, files opened for writing.

The kernel holds each such call (seccomp's user notification, Linux 5.5 and later) until it has been written down here,
so that native libraries are seen like Python, and no right beside that to start the program is needed. Sockets of
networks are refused: what would have left the machine does not.
"""

from __future__ import annotations

import errno
import os
import platform
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from somacast.errors import SomacastError

# Numbers of the calls that are held, by machine: its audit number, seccomp, then calls by what they do.
_CALLS = {
    "x86_64": (0xC000003E, 317, {41: "socket", 2: "open", 257: "openat", 83: "mkdir", 258: "mkdirat", 85: "creat"}),
    "aarch64": (0xC00000B7, 277, {198: "socket", 56: "openat", 34: "mkdirat"}),
}
_RECEIVE, _SEND, _GO_ON = 0xC0502100, 0xC0182101, 1  # ioctls of the listener, and the flag that lets a call happen
_NOTICE, _ANSWER = struct.Struct("=QII iIQ6Q"), struct.Struct("=QqiI")
_RESOLVER = ("/etc/hosts", "/etc/resolv.conf")  # the C library reads them to find a host, and for nothing else
_PATH_BYTES = 4096
# Puts the filter argv[2] on itself by the call argv[3], hands its listener over the socket argv[1], becomes argv[4:].
_LAUNCHER = """
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
filter = bytes.fromhex(sys.argv[2])
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
program = Program(len(filter) // 8, filter)
link = socket.socket(fileno=int(sys.argv[1]))
listener = -1
if libc.prctl(38, 1, 0, 0, 0) == 0:
    listener = libc.syscall(int(sys.argv[3]), 1, 8, ctypes.byref(program))
if listener < 0:
    link.send(os.strerror(ctypes.get_errno()).encode())
    sys.exit(1)
socket.send_fds(link, [b"ready"], [listener])
os.close(listener)
link.close()
os.execvp(sys.argv[4], sys.argv[4:])
"""


@dataclass
class Watched:
    """What a program did. code: its exit status; output: what it printed, both streams; sockets: address families of
    the sockets it asked for, those between processes of one machine left out; look_ups: times the resolver's files
    were read; written: files opened for writing and folders made, /dev and /proc left out."""

    code: int = 0
    output: str = ""
    sockets: list[str] = field(default_factory=list)
    look_ups: int = 0
    written: list[Path] = field(default_factory=list)


def unavailable() -> str | None:
    """Why programs cannot be watched here, in one line, or None where they can."""
    if sys.platform != "linux" or platform.machine() not in _CALLS:
        return f"watching programs needs Linux on {' or '.join(_CALLS)}, this is {sys.platform} {platform.machine()}"
    try:
        watch([sys.executable, "-I", "-c", ""])
    except SomacastError as fault:
        return str(fault)
    return None


def watch(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    limit_s: float = 600.0,
) -> Watched:
    """Run a command to its end and tell what it asked for. environment: of the command, ours if None; folder: where it
    starts; limit_s: when it is ended. Raises SomacastError where the kernel does not let itself be asked."""
    audit, seccomp, calls = _CALLS[platform.machine()]
    ours, theirs = socket.socketpair()
    with ours, theirs, tempfile.TemporaryFile("w+") as output:
        start = [sys.executable, "-I", "-c", _LAUNCHER, str(theirs.fileno()), _filter(audit, calls).hex(), str(seccomp)]
        program = subprocess.Popen(
            [*start, *command],
            env=dict(environment) if environment is not None else None,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        said, descriptors, _, _ = socket.recv_fds(ours, 256, 1)
        if not descriptors:
            program.wait()
            raise SomacastError(f"programs cannot be watched here: {said.decode() or 'the launcher ended'}")
        try:
            found = _listen(descriptors[0], calls, program, limit_s)
        finally:
            program.kill()  # where it has not ended by itself
            os.close(descriptors[0])
        output.seek(0)
        found.code, found.output = program.wait(), output.read()
    return found


def _filter(audit: int, calls: Mapping[int, str]) -> bytes:
    """The classic BPF program: calls in the table are held, all others go on."""
    load, equal, give = 0x20, 0x15, 0x06
    held, goes_on = 0x7FC00000, 0x7FFF0000
    lines = [(load, 0, 0, 4), (equal, 1, 0, audit), (give, 0, 0, goes_on), (load, 0, 0, 0)]
    lines += [(equal, len(calls) - i, 0, number) for i, number in enumerate(calls)]
    lines += [(give, 0, 0, goes_on), (give, 0, 0, held)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def _listen(listener: int, calls: Mapping[int, str], program: subprocess.Popen, limit_s: float) -> Watched:
    """Answer the calls of a program until it and its children have ended."""
    import fcntl  # not on Windows, where nothing here runs

    found, end = Watched(), time.monotonic() + limit_s
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while program.poll() is None:
        if time.monotonic() > end:
            program.kill()
        if not any(event & select.POLLIN for _, event in poll.poll(100)):
            continue
        notice = bytearray(_NOTICE.size)
        try:
            fcntl.ioctl(listener, _RECEIVE, notice)
            number, task, _, call, _, _, *arguments = _NOTICE.unpack(notice)
            error = _note(found, calls[call], task, arguments)
            fcntl.ioctl(listener, _SEND, _ANSWER.pack(number, 0, -error, 0 if error else _GO_ON))
        except OSError as fault:
            if fault.errno not in (errno.ENOENT, errno.EINTR):  # else the caller has ended meanwhile
                raise
    return found


def _note(found: Watched, call: str, task: int, arguments: Sequence[int]) -> int:
    """Write a call down; returns the error that its caller gets, or 0 if it is to happen."""
    if call == "socket":
        family = arguments[0]
        if family == socket.AF_UNIX:
            return 0
        try:
            found.sockets.append(socket.AddressFamily(family).name)
        except ValueError:
            found.sockets.append(str(family))
        return errno.EACCES
    at = call.endswith("at")
    path = _path(task, arguments[1 if at else 0], arguments[0] if at else None)
    flags = arguments[2 if at else 1]
    if str(path) in _RESOLVER:
        found.look_ups += 1
    if call.startswith("mkdir"):
        writes = not path.exists()
    else:
        writes = call == "creat" or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes and path.parts[1:2] not in (("dev",), ("proc",)):
        found.written.append(path)
    return 0


def _path(task: int, address: int, folder: int | None) -> Path:
    """A path in a task's memory, made absolute. folder: the descriptor it is relative to, if it is."""
    with open(f"/proc/{task}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        # Up to the end of the page: the next one need not be there.
        name = memory.read(_PATH_BYTES - address % _PATH_BYTES).partition(b"\0")
        text = os.fsdecode(name[0] if name[1] else name[0] + memory.read(_PATH_BYTES).partition(b"\0")[0])
    if text.startswith("/"):
        return Path(text)
    number = -100 if folder is None else struct.unpack("=i", struct.pack("=I", folder & 0xFFFFFFFF))[0]
    return Path(os.readlink(f"/proc/{task}/{'cwd' if number == -100 else f'fd/{number}'}"), text)
