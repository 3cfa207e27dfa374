"""What the benchmark compares: systems and variants of the registry, by NAME or NAME:VARIANT."""

from __future__ import annotations

from collections.abc import Sequence

from somacast.errors import SomacastError
from somacast.systems import registry
from somacast.systems.spec import Kind

# Variants that stand beside their systems where there are any: a paper to the letter, a mesh with a texture.
VARIANTS = ("literal", "textured")


def default_systems() -> tuple[str, ...]:
    """Everything that sends a person seen by one camera: the default system first, VARIANTS after their systems."""
    found: list[str] = []
    for name in sorted(registry.names(), key=lambda name: name != registry.DEFAULT):
        spec = registry.get(name).spec
        if spec.inputs.views == "mono" and not spec.inputs.cameras:
            found += [name, *(f"{name}:{variant}" for variant in VARIANTS if variant in spec.variants)]
    return tuple(found)


def check_systems(names: Sequence[str]) -> None:
    """SomacastError for a name that nobody knows, one given twice, one that needs more than a picture, or one whose
    package is not installed."""
    if not names or len(set(names)) != len(names):
        raise SomacastError(f"systems: expected each once and at least one, got {' '.join(names) or 'none'}")
    for name in names:
        system = registry.get(name)
        if system.spec.inputs.views != "mono" or system.spec.inputs.cameras:
            raise SomacastError(f"system {name!r} needs more than one picture; expected some of {default_systems()}")
        system.check_packages()


def title_of(name: str) -> str:
    """A system's name for people; that of one that is not known here, or of a group of systems, as it is."""
    base, _, variant = name.partition(":")
    try:
        title = registry.get(base).spec.title
    except SomacastError:
        return name
    return f"{title}, {variant.replace('_', ' ')}" if variant else title


def sends_pictures(name: str) -> bool:
    """Whether a system sends the person as a picture, as codecs of pictures do."""
    try:
        return Kind.IMAGE in registry.get(name.partition(":")[0]).spec.outputs
    except SomacastError:
        return False
