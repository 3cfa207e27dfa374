"""Verbs and groups of verbs: how the words of a command line find the one that runs."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from somacast.cli.common import checked
from somacast.cli.parsing import parse
from somacast.cli.streams import standing_in
from somacast.errors import SomacastError

HELP_WORDS = (["-h"], ["--help"], ["help"])


@dataclass(frozen=True)
class Verb:
    """One command. summary: a line for listings; config: "module:Dataclass", which is its command line; run:
    "module:function", or the function, which takes that configuration, its paths, system and device looked at, and
    gives the exit code; answers: what it prints is what was asked for and goes to stdout. What others print says how
    the work goes, and goes to stderr."""

    summary: str
    config: str
    run: str | Callable[[Any], int]
    answers: bool = False

    def __call__(self, words: list[str], prog: str) -> int:
        config = checked(parse(load(self.config), words, prog))
        run = load(self.run) if isinstance(self.run, str) else self.run
        prints = contextlib.nullcontext() if self.answers else contextlib.redirect_stdout(sys.stderr)
        with standing_in(config) as files, prints:  # in this order: a result goes to stdout itself
            return run(files)


@dataclass(frozen=True)
class Group:
    """Commands under one word. summary: a line for listings; verbs: them by name, or "module:name" of that mapping, or
    of a function that gives it; example: one command; intro, outro: around the listing; default: runs if the next word
    names none of them; missing, unknown: one line for no word (a listing if empty) and for a word that is not there,
    with {word}, {known} and {prog} to be filled in; renamed: old words with the command that stands in their place."""

    summary: str
    verbs: Mapping[str, Verb | Group] | str
    example: str = ""
    intro: str = ""
    outro: str = ""
    default: Verb | None = None
    missing: str = ""
    unknown: str = "unknown verb {path!r}: expected one of {known} (see {prog} --help)"
    renamed: Mapping[str, str] = field(default_factory=dict)

    def members(self) -> Mapping[str, Verb | Group]:
        """Its commands by name."""
        if not isinstance(self.verbs, str):
            return self.verbs
        found: Any = load(self.verbs)
        return found if isinstance(found, Mapping) else found()


def module_verb(module: str, summary: str, answers: bool = False) -> Verb:
    """The verb of a module of cli/ that has `Arguments` and `run(arguments)`."""
    return Verb(summary, f"somacast.cli.{module}:Arguments", f"somacast.cli.{module}:run", answers)


def load(path: str) -> Any:
    """What "module:name" names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def dispatch(group: Group, prog: str, words: list[str]) -> int:
    """Run the command that the words name, or print a listing; returns the exit code."""
    verbs = group.members()
    known = ", ".join(verbs)
    if words and words[0] in verbs:
        found, prog = verbs[words[0]], f"{prog} {words[0]}"
        return dispatch(found, prog, words[1:]) if isinstance(found, Group) else found(words[1:], prog)
    if group.default is not None:
        return _default(group, group.default, prog, words)
    if words[:1] in HELP_WORDS or not (words or group.missing):
        print(listing(group, prog))
        return 0
    if not words:
        raise SomacastError(group.missing.format(known=known, prog=prog))
    if words[0] in group.renamed:
        raise SomacastError(f"{prog} {words[0]}: this is now: {group.renamed[words[0]]}")
    path = f"{prog} {words[0]}".removeprefix("somacast ")
    raise SomacastError(group.unknown.format(path=path, word=words[0], known=known, prog=prog))


def _default(group: Group, default: Verb, prog: str, words: list[str]) -> int:
    """The command that needs no further word; its help names those that do."""
    try:
        return default(words, prog)
    except SystemExit as leave:
        if leave.code in (0, None) and group.members():
            print(f"Beside this:\n\n{_rows(group, prog)}")
        raise


def listing(group: Group, prog: str) -> str:
    """Help text: every command of a group with one line."""
    parts = [f"usage: {prog} VERB ...", group.intro, _rows(group), f"{prog} VERB --help shows the arguments of a verb."]
    parts[-1] += f"\n{group.outro}" if group.outro else ""
    parts += [f"Example: {group.example}"] if group.example else []
    return "\n\n".join(part for part in parts if part)


def _rows(group: Group, prog: str = "") -> str:
    names = {f"{prog} {name}".strip(): one.summary for name, one in group.members().items()}
    width = max(map(len, names), default=0)
    return "\n".join(f"  {name:<{width}}  {summary}" for name, summary in names.items())
