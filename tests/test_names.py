"""The field's words: those that the glossary of docs/conventions.md replaces stay away from names and pages."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import somacast

PACKAGE = Path(somacast.__file__).parent
ROOT = PACKAGE.parents[1]
OLD = {
    "finder",
    "told",
    "spread",
    "spreads",
    "turns",
    "outline",
    "outlines",
    "drawn",
    "lift",
    "stature",
    "rival",
    "rivals",
    "hostile",
}
PHRASES = ("made people", "made person", "finder.onnx", "bench hostile")
# Keywords of others.
ALLOWED = {"outline"}  # of Pillow's drawing
ALLOWED_IN = {"pipeline/still/demo.py": ALLOWED}


def words(name: str) -> set[str]:
    """Parts of a name in snake or camel case."""
    return {part.lower() for part in re.split(r"_|(?<=[a-z0-9])(?=[A-Z])", name) if part}


def old_names(source: str, allowed: set[str] = frozenset()) -> list[str]:
    """Names in a source that hold an old word, or a limit named MOST_ or LEAST_."""
    found = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.NAME or token.string in allowed:
            continue
        limit = re.search(r"(^|_)(MOST|LEAST)(_|$)", token.string)
        if not token.string.startswith("test_") and (words(token.string) & OLD or limit):
            found.add(token.string)
    return sorted(found)


def sources() -> list[Path]:
    return sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "examples").rglob("*.py")])


def test_names_are_the_fields():
    found = {}
    for path in sources():
        key = str(path.relative_to(PACKAGE)) if path.is_relative_to(PACKAGE) else path.name
        if names := old_names(path.read_text(), ALLOWED_IN.get(key, set())):
            found[key] = names
    assert found == {}


def test_files_and_pages_are_named_alike():
    assert [p.name for p in sources() if words(p.stem) & OLD] == []
    pages = [
        p
        for p in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
        if p.name not in ("log.md", "CHANGELOG.md", "conventions.md")
    ]
    assert {
        p.name: [w for w in PHRASES if w in p.read_text()] for p in pages if any(w in p.read_text() for w in PHRASES)
    } == {}


def test_the_check_sees_an_old_word():
    assert old_names("def f(turns):\n    MOST_BYTES = OneDrawnBody(turns)\n") == ["MOST_BYTES", "OneDrawnBody", "turns"]
    assert old_names("returns = rising = 'turns'  # drawn\n") == []
