"""Writing files so that a reader sees the old content or the new one, never half of it."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from somacast.errors import SomacastError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _explain(path: Path, size_bytes: int, error: OSError) -> SomacastError:
    if error.errno in _FULL:
        return SomacastError(f"{path}: the disk is full, {size_bytes} bytes could not be written")
    return SomacastError(f"{path}: cannot be written ({error.strerror or error})")


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while len(view):
        view = view[os.write(descriptor, view) :]


def check_output_path(path: str | os.PathLike[str]) -> Path:
    """Return `path` if a file can stand there: its folder exists and it is no folder itself; else SomacastError.

    Verbs call this before hours of work, so that a mistyped folder is told at once.
    """
    target = Path(path)
    try:
        if not target.parent.is_dir():
            raise SomacastError(f"{target}: the output folder {target.parent} does not exist")
        if target.is_dir():
            raise SomacastError(f"{target}: expected a file name, got a folder")
    except OSError as error:  # a name too long, a loop of links
        raise _explain(target, 0, error) from error
    return target


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` beside `path` and move it into place; on any failure nothing is left and an old file stays.

    Devices and pipes (/dev/stdout) are written directly: replacing them would destroy them.
    Raises SomacastError when the folder is missing, the disk is full or the place is not writable.
    """
    target = check_output_path(path)
    if target.exists() and not target.is_file():
        try:
            descriptor = os.open(target, os.O_WRONLY)
            try:
                _write_all(descriptor, data)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _explain(target, len(data), error) from error
        return
    # A short name of its own: a long target name plus a suffix could pass the limit of the file system.
    temporary = target.parent / f".somacast-{secrets.token_hex(8)}.part"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _explain(target, len(data), error) from error
        raise
