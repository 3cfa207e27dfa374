"""Writing files so that a reader sees the old content or the new one, never half of it, and nothing that is needed is
written over."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from somacast.errors import SomacastError

_BINARY = getattr(os, "O_BINARY", 0)  # without it Windows writes two bytes for each newline
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def explain_fault(path: Path, size_bytes: int, error: OSError) -> SomacastError:
    if error.errno in _FULL:
        return SomacastError(f"{path}: the disk is full, {size_bytes} bytes could not be written")
    return SomacastError(f"{path}: cannot be written ({error.strerror or error})")


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while len(view):
        view = view[os.write(descriptor, view) :]


def check_output_path(path: str | os.PathLike[str]) -> Path:
    """Return `path` if a file can be written there, else SomacastError: its folder exists and may be written into, it
    is no folder itself, and a file that is there already is not write-protected.

    Verbs call this before hours of work, so that a mistyped folder is told at once.
    """
    target = Path(path)
    try:
        found = _status(target)
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise SomacastError(f"{target}: expected a file name, got a folder")
        if found is not None and not (found.st_mode & 0o222 and os.access(target, os.W_OK)):
            raise SomacastError(f"{target}: cannot be written (it is there already, and write-protected)")
        if found is None or stat.S_ISREG(found.st_mode):  # devices and pipes are not replaced
            _check_folder(target, _followed(target).parent)
    except OSError as error:  # a name too long, a loop of links
        raise explain_fault(target, 0, error) from error
    return target


def check_output_folder(path: str | os.PathLike[str]) -> Path:
    """Return `path` if it is a folder that files can be written into, or one that can be made; else SomacastError."""
    target = Path(path)
    try:
        there = _followed(target)
        while _status(there) is None and there != there.parent:
            there = there.parent
        if not there.is_dir():
            raise SomacastError(f"{target}: expected a folder, got a file" + (f" ({there})" if there != target else ""))
        _check_folder(target, there)
    except OSError as error:
        raise explain_fault(target, 0, error) from error
    return target


def _check_folder(target: Path, folder: Path) -> None:
    """That a file or folder can be made in a folder. os.access asks more than the mode does (another system's rules, a
    disk that is read-only); the mode says what the owner wants, whom nothing stops from writing."""
    found = _status(folder)
    if found is None or not stat.S_ISDIR(found.st_mode):
        raise SomacastError(f"{target}: the output folder {folder} does not exist")
    protected = not found.st_mode & 0o222 and os.name == "posix"  # of a Windows folder the mode says nothing
    if protected or not os.access(folder, os.W_OK | os.X_OK):
        raise SomacastError(f"{target}: the output folder {folder} is not writable")


def _status(path: Path) -> os.stat_result | None:
    """What is there, links followed; None for nothing. OSError for a name that no file can have."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _followed(path: Path) -> Path:
    """Where a link leads; replacing the link itself would leave the file that it stands for as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


# -- what must not be written over -------------------------------------------------------------------------------------


def same_file(one: Path, other: Path) -> bool:
    """Whether two names lead to one file, or will once they are written: by another spelling, by links of either kind,
    by names that differ only in capitals or in how accents are composed, which many disks do not tell apart."""
    try:
        found, also = _status(one), _status(other)
    except OSError:
        return False
    if found is not None and also is not None:
        shared = stat.S_ISCHR(found.st_mode) or stat.S_ISSOCK(found.st_mode)  # terminals, /dev/null, connections
        return os.path.samestat(found, also) and not shared
    return found is also and _place(one) == _place(other)


def _place(path: Path) -> tuple[object, str]:
    """Folder and name of a file that is not there yet."""
    real = Path(os.path.realpath(path))
    folder = _status(real.parent)
    name = unicodedata.normalize("NFC", real.name).casefold()
    return (folder.st_dev, folder.st_ino) if folder is not None else str(real.parent), name


def check_apart(read: Sequence[Path], written: Sequence[Path]) -> None:
    """Raise SomacastError if what is to be written is also what is read, is a file inside a folder that is read, or is
    to be written twice. Files and folders alike; they need not be there."""
    for number, out in enumerate(written):
        for source in read:
            if same_file(out, source):
                how = "both read and written" if out == source else f"another name of {source}, which is read"
                raise SomacastError(f"{out}: is {how}; expected another place to write to")
            if os.path.isdir(source) and os.path.isfile(out) and _inside(out, source):
                raise SomacastError(
                    f"{out}: is there already, in the folder {source} that is read; expected a new name"
                )
        for other in written[:number]:
            if same_file(out, other):
                how = "to be written twice" if out == other else f"another name of {other}, which is written too"
                raise SomacastError(f"{out}: is {how}; expected two names")


def _inside(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents


# -- writing -----------------------------------------------------------------------------------------------------------


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` beside `path` and move it into place; on any failure nothing is left and an old file stays. A link
    stays, and the file that it leads to is replaced.

    Devices and pipes (/dev/stdout) are written directly: replacing them would destroy them.
    Raises SomacastError when the folder is missing, the disk is full or the place is not writable.
    """
    target = check_output_path(path)
    if target.exists() and not target.is_file():
        try:
            descriptor = os.open(target, os.O_WRONLY | _BINARY)
            try:
                _write_all(descriptor, data)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise explain_fault(target, len(data), error) from error
        return
    target = _followed(target)
    temporary = _written_beside(target, data)
    try:
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise explain_fault(target, len(data), error) from error
        raise


def _beside(target: Path) -> Path:
    """A short name of its own: a long target name plus a suffix could pass the limit of the file system."""
    return target.parent / f".somacast-{secrets.token_hex(8)}.part"


def _written_beside(target: Path, data: bytes) -> Path:
    """A new file with `data` in the folder of `target`; on any failure it is gone."""
    temporary = _beside(target)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise explain_fault(target, len(data), error) from error
        raise
    return temporary


def write_together(files: Mapping[Path, bytes]) -> None:
    """Write files that need each other, in their order: all of them, or none, and what was there before stays.

    Raises SomacastError as `write_atomically`, and for devices and pipes among several. Only a machine that stops
    between the first and the last move leaves some of them new.
    """
    if len(files) == 1:
        write_atomically(*next(iter(files.items())))
        return
    targets = {path: _followed(check_output_path(path)) for path in files}
    check_apart([], list(files))
    for path, target in targets.items():
        if target.exists() and not target.is_file():
            raise SomacastError(f"{path}: is no ordinary file; expected one, since others are written beside it")
    waiting: dict[Path, Path] = {}
    kept: dict[Path, Path] = {}  # second names of what was there
    moved: list[Path] = []
    try:
        for path, data in files.items():
            waiting[path] = _written_beside(targets[path], data)
        for path, target in targets.items():
            try:
                if target.exists():
                    kept[target] = _beside(target)
                    _second_name(target, kept[target])
                moved.append(target)
                os.replace(waiting[path], target)
            except OSError as error:
                raise explain_fault(path, len(files[path]), error) from error
    except BaseException:
        for target in moved:
            if target in kept:
                os.replace(kept[target], target)
            else:
                target.unlink(missing_ok=True)
        raise
    finally:
        for rest in (*waiting.values(), *kept.values()):
            rest.unlink(missing_ok=True)


def _second_name(target: Path, name: Path) -> None:
    try:
        os.link(target, name)
    except OSError:  # a file system without links
        shutil.copy2(target, name)
