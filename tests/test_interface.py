"""Nothing outside systems/ knows which system runs: its modules are not imported, its name is not written."""

from __future__ import annotations

import ast
import tokenize
from pathlib import Path

import somacast
from somacast.systems import registry

PACKAGE = Path(somacast.__file__).parent
# The one place of the default, and the table of ids of files: names there are what the table is about.
MAY_NAME = {"systems/registry.py", "bitstream/systems.py"}


def systems() -> list[str]:
    return sorted(registry._built_in())


def outside() -> list[Path]:
    """Sources outside systems/, and the two modules there that serve all systems."""
    rooms = [p for p in PACKAGE.rglob("*.py") if p.relative_to(PACKAGE).parts[0] != "systems"]
    return sorted([*rooms, PACKAGE / "systems" / "registry.py", PACKAGE / "systems" / "spec.py"])


def imported_systems(source: str) -> list[str]:
    """Modules of a system that a source imports, wherever in it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found += [n for n in names if n.startswith("somacast.systems.") and n.split(".")[2] not in ("registry", "spec")]
    return found


def literals(path: Path, names: list[str]) -> list[str]:
    """String literals that are the name of a system, or name a module of one."""
    found = []
    with path.open() as stream:
        for token in tokenize.generate_tokens(stream.readline):
            if token.type == tokenize.STRING and not token.line.lstrip().startswith(('"""', "#")):
                text = token.string.strip("rbfuRBFU").strip("'\"")
                if text in names or any(f"systems.{name}." in text for name in names):
                    found.append(f"{path.relative_to(PACKAGE)}:{token.start[0]}: {token.string}")
    return found


def test_there_are_systems():
    assert registry.DEFAULT in systems()
    for name in systems():
        spec = registry.get(name).spec
        assert spec.name == name and spec.title and spec.outputs


def test_no_module_of_a_system_is_imported_outside():
    found = {str(p.relative_to(PACKAGE)): imported_systems(p.read_text()) for p in outside()}
    # the package `systems` holds nothing of its own
    assert {path: names for path, names in found.items() if names} == {}


def test_no_name_of_a_system_is_written_outside():
    # these share their names with file formats that are no system's
    names = [name for name in systems() if name not in ("jpeg", "webp", "avif", "obj")]
    paths = [p for p in outside() if str(p.relative_to(PACKAGE)) not in MAY_NAME]
    assert [line for path in paths for line in literals(path, names)] == []
    assert len(literals(PACKAGE / "systems" / "registry.py", names)) == 1, "the default is named once"


def test_the_checks_see_what_they_look_for(tmp_path):
    late = "def f():\n    from somacast.systems.aflsc import codec\n"
    assert imported_systems(late) == ["somacast.systems.aflsc.codec"]
    source = PACKAGE / "cli" / "encode.py"
    copy = tmp_path / "x.py"
    copy.write_text(source.read_text() + '\nNAME = "aflsc"\n')
    with copy.open() as stream:
        strings = [t.string for t in tokenize.generate_tokens(stream.readline) if t.type == tokenize.STRING]
    assert '"aflsc"' in strings
