"""Files appear whole or not at all, and nothing that is needed is written over."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from somacast import files
from somacast.errors import SomacastError
from somacast.files import check_apart, check_output_folder, check_output_path, same_file, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- one file by several names ----------------------------------------------------------------------------------------


@pytest.fixture
def other_names(tmp_path: Path) -> dict[str, Path]:
    """A file that is there, by names that are not its own."""
    (tmp_path / "sub").mkdir()
    file = tmp_path / "me.jpg"
    file.write_bytes(b"precious")
    (tmp_path / "link.jpg").symlink_to("me.jpg")
    (tmp_path / "link_of_link.jpg").symlink_to("link.jpg")
    (tmp_path / "hard.jpg").hardlink_to(file)
    (tmp_path / "folder").symlink_to(tmp_path, target_is_directory=True)
    return {
        "itself": file,
        "spelling": tmp_path / "sub" / ".." / "me.jpg",
        "relative": Path(os.path.relpath(file)),
        "link": tmp_path / "link.jpg",
        "link of a link": tmp_path / "link_of_link.jpg",
        "hard link": tmp_path / "hard.jpg",
        "through a linked folder": tmp_path / "folder" / "me.jpg",
    }


KINDS = ["itself", "spelling", "relative", "link", "link of a link", "hard link", "through a linked folder"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_known_by_every_name(other_names, kind):
    file, name = other_names["itself"], other_names[kind]
    assert same_file(file, name) and same_file(name, file)
    with pytest.raises(SomacastError, match="(read|written); expected another place"):
        check_apart([file], [name])
    with pytest.raises(SomacastError, match="expected two names"):
        check_apart([], [file, name])


def test_names_of_files_that_are_not_there_yet(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "to_come").symlink_to("a.soma")
    (tmp_path / "folder").symlink_to("sub", target_is_directory=True)
    same = [
        ("a.soma", "sub/../a.soma"), ("a.soma", "A.SOMA"), ("\u00e9.soma", "e\u0301.soma"), ("a.soma", "to_come"),
        ("sub/a.soma", "folder/a.soma"), ("none/a.soma", "none/./a.soma"),
    ]  # fmt: skip
    for one, other in same:
        assert same_file(tmp_path / one, tmp_path / other), (one, other)
    for one, other in [("a.soma", "b.soma"), ("a.soma", "sub/a.soma"), ("sub/a.soma", "none/a.soma")]:
        assert not same_file(tmp_path / one, tmp_path / other), (one, other)
    (tmp_path / "a.soma").write_bytes(b"")
    assert not same_file(tmp_path / "a.soma", tmp_path / "b.soma")
    check_apart([tmp_path / "a.soma"], [tmp_path / "b.soma", tmp_path / "sub" / "a.soma"])


def test_a_disk_that_does_not_tell_capitals_apart(tmp_path, monkeypatch):
    """There the system itself says that both are one file."""
    file, also = tmp_path / "me.jpg", tmp_path / "ME.JPG"
    file.write_bytes(b"precious")
    ask = files._status
    monkeypatch.setattr(files, "_status", lambda path: ask(path.with_name(path.name.lower())))
    assert same_file(file, also)


def test_devices_may_be_named_twice_and_long_names_are_no_fault():
    assert not same_file(Path(os.devnull), Path(os.devnull))
    assert not same_file(Path("x" * 300), Path("y"))
    check_apart([Path("x" * 300)], [Path("y" * 300)])


def test_what_lies_in_a_folder_that_is_read(tmp_path):
    people = tmp_path / "people"
    (people / "deep").mkdir(parents=True)
    (people / "deep" / "truth.json").write_text("{}")
    (tmp_path / "link").symlink_to("people/deep", target_is_directory=True)
    for out in (people / "deep" / "truth.json", tmp_path / "link" / "truth.json"):
        with pytest.raises(SomacastError, match="in the folder .* that is read"):
            check_apart([people], [out])
    check_apart([people], [people / "deep" / "new.json", people / "new"])
    with pytest.raises(SomacastError, match="both read and written"):
        check_apart([people], [people])


# -- places to write to -----------------------------------------------------------------------------------------------


def test_places_that_cannot_be_written_are_told_before(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "locked.json").write_text("x")
    (tmp_path / "locked.json").chmod(0o444)
    (tmp_path / "read_only").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "away").symlink_to("none/a.json")
    for name, expected in [
        ("none/a.json", "does not exist"), ("file/a.json", "does not exist"), ("read_only", "got a folder"),
        ("locked.json", "write-protected"), ("x" * 300, "cannot be written"), ("loop", "cannot be written"),
        ("away", "does not exist"),
    ]:  # fmt: skip
        with pytest.raises(SomacastError, match=expected):
            check_output_path(tmp_path / name)
    (tmp_path / "read_only").chmod(0o555)
    with pytest.raises(SomacastError, match="not writable"):
        check_output_path(tmp_path / "read_only" / "a.json")
    with pytest.raises(SomacastError, match="not writable"):
        check_output_folder(tmp_path / "read_only" / "new" / "deep")
    for name in ("file", "file/deep"):
        with pytest.raises(SomacastError, match="expected a folder, got a file"):
            check_output_folder(tmp_path / name)
    assert check_output_folder(tmp_path / "new" / "deep") == tmp_path / "new" / "deep"
    assert "new" not in names(tmp_path)


def test_what_the_system_forbids_is_told_before(tmp_path, monkeypatch):
    """A disk that is read-only, rights of others: the superuser, who may do all, runs this test too."""
    (tmp_path / "a.json").write_text("x")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "a.json")
    with pytest.raises(SomacastError, match="write-protected"):
        check_output_path(tmp_path / "a.json")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(SomacastError, match="not writable"):
        check_output_path(tmp_path / "b.json")


# -- writing ----------------------------------------------------------------------------------------------------------


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "latest.json").symlink_to("runs/1.json")
    for content in (b"new", b"newer"):  # the file is not there at first
        write_atomically(tmp_path / "latest.json", content)
        assert (tmp_path / "latest.json").is_symlink() and (tmp_path / "runs" / "1.json").read_bytes() == content
    assert names(tmp_path / "runs") == ["1.json"] and names(tmp_path) == ["latest.json", "runs"]


def test_a_hard_link_keeps_the_old_content(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new" and (tmp_path / "b").read_bytes() == b"old"


@pytest.mark.parametrize("step", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "broken"), KeyboardInterrupt()])
def test_nothing_half_written_stays(tmp_path, monkeypatch, step, fault):
    target = tmp_path / "a.soma"
    target.write_bytes(b"old")

    def fails(*_: object, **__: object):
        raise fault

    monkeypatch.setattr(files.os, step, fails)
    expected = KeyboardInterrupt if isinstance(fault, KeyboardInterrupt) else SomacastError
    with pytest.raises(expected, match="full, 3 bytes|cannot be written|^$"):
        write_atomically(target, b"new")
    monkeypatch.undo()
    assert names(tmp_path) == ["a.soma"] and target.read_bytes() == b"old"


def test_a_real_full_disk_is_one_line():
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with pytest.raises(SomacastError, match="the disk is full"):
        write_atomically("/dev/full", b"x")


def test_devices_and_pipes_are_written_to(tmp_path):
    write_atomically(os.devnull, b"x")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(tmp_path / "pipe", b"through")
    assert os.read(reader, 99) == b"through" and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    os.close(reader)
