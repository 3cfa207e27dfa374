"""No verb writes over what it reads: every option that names a path says so, and all are looked at before the work."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from PIL import Image

from somacast.cli import dispatch
from somacast.cli import main as cli
from somacast.cli.commands import options_of, verbs_of
from somacast.cli.dispatch import load
from somacast.errors import SomacastError
from somacast.options import (
    Existing,
    Folder,
    IsSystem,
    Made,
    Maybe,
    Place,
    Written,
    check_paths,
    declared,
)

CONFIGS: dict[str, Any] = {prog: load(verb.config) for prog, verb in verbs_of()}


# -- every option that names a path says what for ---------------------------------------------------------------------


def forgotten(config: Any) -> list[str]:
    """Options that may name a file or folder and do not say whether it is read or written."""
    known = {name for name, _, one in declared(config) if isinstance(one, Place | IsSystem)}
    hints = get_type_hints(config)
    texts = {option.name.split()[-2 if " " in option.name else -1]: option.text for option in options_of(config)}
    found = []
    for field in dataclasses.fields(config):
        kinds = {hints[field.name], *get_args(hints[field.name])}
        text = next((t for name, t in texts.items() if field.name in name.strip("-").replace("-", "_").lower()), "")
        words = get_origin(hints[field.name]) is tuple  # of a list
        names_one = not words and str in kinds and re.search(r"\b(file|folder)\b", text)
        if field.name not in known and (Path in kinds or names_one):
            found.append(field.name)
    return found


@pytest.mark.parametrize("prog", CONFIGS)
def test_every_path_of_every_verb_is_declared(prog):
    assert forgotten(CONFIGS[prog]) == []


def test_a_verb_that_forgets_is_found():
    @dataclasses.dataclass(frozen=True)
    class Careless:
        """Do something."""

        image: Path
        """picture"""
        out: Path | None = None
        """what comes of it"""
        source: str = "webcam"
        """webcam or a video file"""
        room: str = "person"
        """name of the stream"""

    globals()["Careless"] = Careless
    assert forgotten(Careless) == ["image", "out", "source"]


def test_the_check_is_made_for_every_verb(monkeypatch):
    """By the one way on which all are called, so that none can leave it out."""
    seen: list[Any] = []
    monkeypatch.setattr(dispatch, "parse", lambda config, words, prog: config)
    monkeypatch.setattr(dispatch, "checked", seen.append)
    monkeypatch.setattr(dispatch, "standing_in", lambda config: (_ for _ in ()).throw(SystemExit(7)))
    for _, verb in verbs_of():
        with pytest.raises(SystemExit):
            verb([], "somacast")
    assert seen == list(CONFIGS.values())


# -- the check refuses what it must, whatever the verb ----------------------------------------------------------------


def places(config: Any) -> dict[str, Place]:
    return {name: place for name, _, place in declared(config) if isinstance(place, Place)}


def made(config: Any, **values: Any) -> Any:
    """A configuration with these values, and nothing else that names a path."""
    made = object.__new__(config)
    for field in dataclasses.fields(config):
        default = None if field.default is dataclasses.MISSING or field.name in places(config) else field.default
        object.__setattr__(made, field.name, values.get(field.name, default))
    return made


def of_its_kind(config: Any, name: str, value: Any) -> Any:
    """One value of a field that may take several, among others."""
    default = next(field.default for field in dataclasses.fields(config) if field.name == name)
    return (Path(__file__), value) if isinstance(default, tuple) else value


def pairs(first: tuple[type, ...], second: tuple[type, ...]) -> Iterator[Any]:
    for prog, config in CONFIGS.items():
        found = places(config)
        for one, place in found.items():
            for other, also in found.items():
                if one != other and isinstance(place, first) and isinstance(also, second):
                    yield pytest.param(config, one, other, id=f"{prog.removeprefix('somacast ')}: {one}, {other}")


def a_name(place: Place, stem: str = "same") -> str:
    suffixes = getattr(place, "suffixes", ()) or getattr(place, "written", ()) or (".soma",)
    return stem + suffixes[0]


def is_written(place: Place) -> bool:
    return isinstance(place, Written) or (isinstance(place, Maybe) and bool(place.written))


def is_read(place: Place) -> bool:
    return isinstance(place, Existing) or (isinstance(place, Maybe) and not place.written)


FILES = [
    pair
    for pair in pairs((Existing, Maybe), (Written, Maybe))
    if is_read(places(pair.values[0])[pair.values[1]]) and is_written(places(pair.values[0])[pair.values[2]])
]


@pytest.mark.parametrize(("config", "read", "written"), FILES)
def test_no_file_is_read_and_written(config, read, written, tmp_path):
    found = places(config)
    file = tmp_path / a_name(found[written])
    file.write_bytes(b"precious")
    link, hard = tmp_path / a_name(found[written], "link"), tmp_path / a_name(found[written], "hard")
    link.symlink_to(file)
    hard.hardlink_to(file)
    as_text = isinstance(found[read], Maybe), isinstance(found[written], Maybe)
    for source, target in [(file, file), (file, link), (hard, file), (link, hard), (file, tmp_path / "." / file.name)]:
        values = {
            read: of_its_kind(config, read, str(source) if as_text[0] else source),
            written: str(target) if as_text[1] else target,
        }
        with pytest.raises(SomacastError, match="expected another place to write to"):
            check_paths(made(config, **values))
    assert file.read_bytes() == b"precious"
    new = tmp_path / a_name(found[written], "new")
    check_paths(made(config, **{read: values[read], written: str(new) if as_text[1] else new}))


def test_the_pairs_are_those_of_the_command_line():
    names = {pair.id.split(":")[0] for pair in FILES}
    assert {"encode", "decode", "send", "receive", "bench rd"} <= names


@pytest.mark.parametrize(("config", "read", "written"), list(pairs((Folder,), (Written,))))
def test_no_file_of_a_folder_that_is_read_is_written_over(config, read, written, tmp_path):
    name = a_name(places(config)[written])
    (tmp_path / name).write_text("{}")
    with pytest.raises(SomacastError, match="in the folder .* that is read; expected a new name"):
        check_paths(made(config, **{read: tmp_path, written: tmp_path / name}))
    check_paths(made(config, **{read: tmp_path, written: tmp_path / f"new{name}"}))


@pytest.mark.parametrize(("config", "read", "written"), list(pairs((Folder,), (Made,))))
def test_no_folder_is_read_and_written(config, read, written, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder", target_is_directory=True)
    with pytest.raises(SomacastError, match="expected another place to write to"):
        check_paths(made(config, **{read: tmp_path / "folder", written: tmp_path / "link"}))


@pytest.mark.parametrize(("config", "one", "other"), list(pairs((Written,), (Written,))))
def test_no_file_is_written_twice(config, one, other, tmp_path):
    found = places(config)
    first, second = tmp_path / a_name(found[one], "a"), tmp_path / a_name(found[other], "b")
    check_paths(made(config, **{one: first, other: second}))
    second.symlink_to(first)
    with pytest.raises(SomacastError, match="expected two names"):
        check_paths(made(config, **{one: first, other: second}))


@pytest.mark.parametrize("prog", [prog for prog, config in CONFIGS.items() if hasattr(config, "more_written")])
def test_files_that_no_option_names_are_looked_at_too(prog, tmp_path):
    config = CONFIGS[prog]
    found = places(config)
    name, place = next((n, p) for n, p in found.items() if isinstance(p, Written | Made))
    values = {name: tmp_path / a_name(place) if isinstance(place, Written) else tmp_path}
    if prog == "somacast encode":
        values |= {"people": "all", "image": Path("synthetic:walking")}
    if prog == "somacast decode":
        values |= {"file": tmp_path / "same.soma", "out": tmp_path / "same.obj"}
        values["file"].write_bytes(b"x")
    plain = made(config, **values)
    assert plain.more_written
    check_paths(plain)
    plain.more_written[0].mkdir()
    with pytest.raises(SomacastError, match="expected a file name, got a folder"):
        check_paths(plain)


WRITTEN = [
    pytest.param(config, name, id=f"{prog.removeprefix('somacast ')}: {name}")
    for prog, config in CONFIGS.items()
    for name, place in places(config).items()
    if isinstance(place, Written)
]


@pytest.mark.parametrize(("config", "name"), WRITTEN)
def test_places_that_cannot_be_written_are_told_before_the_work(config, name, tmp_path):
    place = places(config)[name]
    assert place.suffixes, "a file that is written says its kind by its name"  # pyright: ignore
    (tmp_path / a_name(place, "locked")).write_text("x")
    (tmp_path / a_name(place, "locked")).chmod(0o444)
    (tmp_path / "closed").mkdir(mode=0o555)
    for path, expected in [
        ("same.xyz", "expected a file name ending in"), (a_name(place, "none/same"), "does not exist"),
        (a_name(place, "locked"), "write-protected"), (a_name(place, "closed/same"), "not writable"),
        ("", "got a folder"),
    ]:  # fmt: skip
        with pytest.raises(SomacastError, match=expected):
            check_paths(made(config, **{name: tmp_path / path}))


# -- by the command line, networks out of reach -----------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a picture me.jpg and a file me.soma; whoever asks for weights fails."""
    from somacast.weights import manifest

    def nobody(*_: object):
        raise AssertionError("the work has begun")

    monkeypatch.setattr(manifest, "weights_path", nobody)
    monkeypatch.setattr("somacast.weights.sessions.weights_path", nobody)
    Image.new("RGB", (96, 96)).save(tmp_path / "me.jpg")
    (tmp_path / "me.soma").write_bytes(b"\x9eS")
    (tmp_path / "me_1.soma").write_bytes((tmp_path / "me.jpg").read_bytes())
    (tmp_path / "link.soma").symlink_to("me.jpg")
    (tmp_path / "hard.soma").hardlink_to(tmp_path / "me.jpg")
    (tmp_path / "hard.glb").hardlink_to(tmp_path / "me.soma")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "contact_sheet.png").hardlink_to(tmp_path / "me.jpg")
    (tmp_path / "mask.png").symlink_to("me.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("encode me.jpg -o me.jpg", "me.jpg: expected a file name ending in .soma"),
        ("encode me.jpg -o x.jpg", "x.jpg: expected a file name ending in .soma"),
        ("encode me.jpg -o link.soma", "link.soma: is another name of me.jpg, which is read"),
        ("encode ./me.jpg -o hard.soma", "hard.soma: is another name of me.jpg, which is read"),
        ("encode me.soma -o me.soma", "me.soma: is both read and written"),
        ("encode me.soma -o out/../me.soma", "out/../me.soma: is another name of me.soma"),
        ("encode me.jpg -o a.soma --mask me.soma --report me.soma", "expected a file name ending in .json"),
        ("encode me.jpg -o a.soma --report r.txt", "r.txt: expected a file name ending in .json"),
        ("encode me.jpg -o a.soma --report none/r.json", "the output folder none does not exist"),
        ("encode me.jpg -o a.soma --mask none.png", "none.png: no such file; expected a mask"),
        ("encode me.jpg -o a.soma --system nobody", "system 'nobody': expected one of"),
        ("encode me.jpg -o a.soma --system aflsc:nobody", "has no variant 'nobody'"),
        ("encode me.jpg -o a.soma --budget-bytes 9", "a budget of 9 bytes is too small"),
        ("encode me.jpg -o a.soma --device tpu", "--device tpu: expected cpu"),
        ("encode me_1.soma -o me.soma --people all", "me_1.soma: is both read and written"),
        ("encode me_1.soma -o me.soma --people 2", "me_1.soma: is both read and written"),
        ("encode none.jpg -o a.soma", "none.jpg: no such file"),
        ("encode synthetic:walking -o none/a.soma", "does not exist"),
        ("decode me.soma -o me.soma", "me.soma: expected a file name ending in .glb"),
        ("decode me.soma -o hard.glb", "hard.glb: is another name of me.soma"),
        ("decode me.soma none.soma -o a.glb", "none.soma: no such file"),
        ("decode link.soma me.soma -o hard.glb", "hard.glb: is another name of me.soma"),
        ("decode me.soma -o a.glb --preview a.jpg", "a.jpg: expected a file name ending in .png"),
        ("decode me.soma -o a.glb --format ply", "a.glb: expected a file name ending in .ply, as --format says"),
        ("decode me.soma -o a.glb --device tpu", "--device tpu: expected cpu"),
        ("demo --image out/contact_sheet.png --out out", "out/contact_sheet.png: is both read and written"),
        ("demo --image me.jpg --out out", "out/contact_sheet.png: is another name of me.jpg"),
        ("demo --image none.jpg --out out", "none.jpg: no such file"),
        ("demo --out me.jpg", "me.jpg: expected a folder, got a file"),
        ("demo --out out --system nobody", "system 'nobody': expected one of"),
        ("send me.soma --to me.soma", "me.soma: is both read and written"),
        ("send me.jpg --to link.soma", "link.soma: is another name of me.jpg"),
        ("send me.jpg --to none/a.soma", "the output folder none does not exist"),
        ("send me.jpg --system nobody", "system 'nobody': expected one of"),
        ("receive --listen me.soma --record me.soma", "me.soma: is both read and written"),
        ("receive --connect me.soma --record out/../me.soma", "is another name of me.soma"),
        ("receive --record me.mp3", "me.mp3: expected a file name ending in .soma"),
        ("keys me.jpg", "me.jpg: expected a folder, got a file"),
        ("data synth --out out --people 1 --backgrounds out", "out: is both read and written"),
        ("evaluate --system aflsc --data out --json out/contact_sheet.png", "ending in .json"),
        ("evaluate --system nobody --data synthetic-test --json a.json", "system 'nobody': expected one of"),
        ("evaluate --system aflsc --data synthetic-test --json a.json --sheet mask.png --assets .", "that is read"),
        ("bench rd --systems nobody --json a.json", "system 'nobody': expected one of"),
        ("bench detector --system nobody --json a.json", "system 'nobody': expected one of"),
        ("bench speed --json none/a.json", "the output folder none does not exist"),
        ("train aflsc motion --out me.jpg", "me.jpg: expected a file name ending in .safetensors"),
        ("train aflsc --out me.jpg", "me.jpg: expected a folder, got a file"),
    ],
)  # fmt: skip
def test_nothing_is_lost_and_nothing_begun(folder, capsys, words, expected):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert cli.main(words.split()) == 2
    captured = capsys.readouterr()
    assert expected in captured.err and len(captured.err.splitlines()) == 1 and not captured.out
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_packages_that_are_missing_are_told_before_the_work(folder, capsys, monkeypatch):
    from somacast import extras

    monkeypatch.setattr(extras, "installed", lambda package: False)
    for words, package in [
        ("decode me.soma -o a.mp4", "av"), ("encode me.jpg -o a.soma --system draco", "DracoPy"),
        ("bench detector --system draco --json a.json", "DracoPy"), ("keys new", "cryptography"),
    ]:  # fmt: skip
        assert cli.main(words.split()) == 2
        assert f"needs the package {package}: pip install 'somacast[" in capsys.readouterr().err


def test_an_input_may_be_a_source_with_the_name_of_nothing(folder, monkeypatch):
    """synthetic:walking and webcam:1 are no files, unless there are files of that name."""
    config = CONFIGS["somacast encode"]
    for word in ("synthetic:walking", "webcam", "webcam:1"):
        check_paths(made(config, image=Path(word), out=folder / "a.soma"))
    for word in ("synthetic", "webcam_me.jpg", "./webcam"):
        with pytest.raises(SomacastError, match="no such file"):
            check_paths(made(config, image=Path(word) if word[0] != "." else folder / "webcam", out=folder / "a.soma"))
    os.link("me.soma", "webcam:1")
    with pytest.raises(SomacastError, match="another name"):
        check_paths(made(config, image=Path("webcam:1"), out=folder / "me.soma"))
