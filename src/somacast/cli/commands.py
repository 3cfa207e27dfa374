"""docs/commands.md from the configurations that the command line is made of.

python -m somacast.cli.commands > docs/commands.md
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro
from docstring_parser import parse_from_object

from somacast.cli.dispatch import Group, Verb, load
from somacast.cli.main import ROOT

POSITIONAL, SUPPRESSED = (get_args(marker[int])[1] for marker in (tyro.conf.Positional, tyro.conf.Suppress))
PLACEHOLDERS = {int: "INT", float: "FLOAT", str: "STR", Path: "PATH"}
INTRODUCTION = f"""# Commands

Written by `python -m somacast.cli.commands > docs/commands.md` from the configurations that `--help` shows, too.
{ROOT.outro}
"""


@dataclasses.dataclass(frozen=True)
class Option:
    """One line of help. name: as it is written, with the kind of its value; default: "" for what must be given."""

    name: str
    default: str
    text: str


def verbs_of(group: Group = ROOT, prog: str = "somacast") -> Iterator[tuple[str, Verb]]:
    """Every command with all of its words, in the order of the listings."""
    if group.default is not None:
        yield prog, group.default
    for name, member in group.members().items():
        if isinstance(member, Group):
            yield from verbs_of(member, f"{prog} {name}")
        else:
            yield f"{prog} {name}", member


def options_of(config: type) -> Iterator[Option]:
    """The options of a configuration, those of the configurations inside it too."""
    classes = [one for one in reversed(config.__mro__) if dataclasses.is_dataclass(one)]
    texts = {param.arg_name: param.description for one in classes for param in parse_from_object(one).params}
    hints = get_type_hints(config, include_extras=True)
    for field in dataclasses.fields(config):
        hint, declared = hints[field.name], getattr(hints[field.name], "__metadata__", ())
        kind = get_args(hint)[0] if declared else hint
        if SUPPRESSED in declared:
            continue
        default = _default(field)
        if dataclasses.is_dataclass(kind):
            values = {inner.name: getattr(default, inner.name) for inner in dataclasses.fields(kind)}
            for inner in options_of(kind):  # pyright: ignore[reportArgumentType]
                value = values[inner.name.split()[0].removeprefix("--").replace("-", "_")]
                yield dataclasses.replace(inner, default=_shown(value))
            continue
        argument = next((one for one in declared if hasattr(one, "metavar")), None)
        name = (argument and argument.name) or field.name.replace("_", "-")
        if POSITIONAL in declared:
            name = name.upper()
        else:
            names = [*(argument.aliases or () if argument else ()), f"--{name}"]
            name = f"{', '.join(names)} {(argument and argument.metavar) or _placeholder(kind)}".rstrip()
        text = texts.get(field.name) or (argument and argument.help) or ""
        yield Option(name, _shown(default), " ".join(text.split()))


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _placeholder(kind: Any) -> str:
    """What stands for a value: INT, PATH, {a,b}; nothing for a switch."""
    if get_origin(kind) in (Union, UnionType):
        kind = next(one for one in get_args(kind) if one is not type(None))
    if kind is bool:
        return ""
    if get_origin(kind) is Literal:
        return f"{{{','.join(map(str, get_args(kind)))}}}"
    if get_origin(kind) is tuple:
        return f"{_placeholder(get_args(kind)[0])} ..."
    return PLACEHOLDERS[kind]


def _shown(default: Any) -> str:
    if default is dataclasses.MISSING or default is None or default is False or default == ():
        return "" if default is not dataclasses.MISSING else "required"
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def section(prog: str, verb: Verb) -> str:
    """One command: what it does, examples, a table of its options."""
    config = load(verb.config)
    paragraphs = [" ".join(part.split()) for part in (config.__doc__ or "").split("\n\n")]
    examples = [part.removeprefix("Example: ") for part in paragraphs if part.startswith("Example: ")]
    texts = [part for part in paragraphs if part and not part.startswith("Example: ")]
    rows = [
        f"| `{option.name}` | {f'`{option.default}`' if option.default not in ('', 'required') else option.default} "
        f"| {option.text} |".replace("|  |", "| |")
        for option in options_of(config)
    ]
    table = ["| option | default | |", "| --- | --- | --- |", *rows] if rows else []
    parts = [f"## {prog}", *texts, "\n".join(["```bash", *examples, "```"]) if examples else "", "\n".join(table)]
    return "\n\n".join(part for part in parts if part)


def page() -> str:
    """The whole page."""
    return "\n\n".join([INTRODUCTION.rstrip(), *(section(prog, verb) for prog, verb in verbs_of())]) + "\n"


if __name__ == "__main__":
    print(page(), end="")
