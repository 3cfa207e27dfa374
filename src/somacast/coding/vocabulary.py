"""The semantic vocabulary: what the labels mean, and values <-> coarse-to-fine symbols.

    values [N, L] -> quantise -> symbols [N, L, levels] -> dequantise -> values, widths, present

NumPy only. importance.py says how much a label matters, label_coding.py how its symbols become bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache

import numpy as np

from somacast.errors import SomacastError

KINDS = ("class", "scalar", "circular")
MAX_LEVELS = 7
MAX_ALPHABET = 4095  # one table place of 4096 is kept for "absent" of an optional label
MAX_FINE_BINS = 65536
CONTEXT_LABELS = 8


@dataclass(frozen=True)
class Label:
    """One label of the person; `alphabets[k]` is the number of symbols of level k, level 0 is the coarsest.

    kind "scalar": u = (v - mean)/std, clipped to [-span, span], in prod(alphabets) equal bins; the levels are the
    digits of the bin index, most significant first. "circular": the same over radians in [-pi, pi) (mean is used
    for a missing label only). "class": one level, the value is the class index; `mean` is the class of a missing label.
    minimum_levels 1: the base layer always holds level 0; 0: the whole label is optional and may be absent.
    """

    name: str
    group: str
    kind: str
    alphabets: tuple[int, ...]
    minimum_levels: int = 1
    mean: float = 0.0
    std: float = 1.0
    classes: tuple[str, ...] | None = None
    span: float = 3.2

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise SomacastError(f"label {self.name!r}: {problem}")

    def _problem(self) -> str:
        if self.kind not in KINDS:
            return f"expected a kind of {KINDS}, got {self.kind!r}"
        if not 1 <= len(self.alphabets) <= MAX_LEVELS or not all(2 <= a <= MAX_ALPHABET for a in self.alphabets):
            return f"expected 1 to {MAX_LEVELS} levels of 2 to {MAX_ALPHABET} symbols, got {self.alphabets}"
        if self.fine_bins > MAX_FINE_BINS:
            return f"expected at most {MAX_FINE_BINS} fine bins, got {self.fine_bins}"
        if self.minimum_levels not in (0, 1):
            return f"expected minimum_levels 0 or 1, got {self.minimum_levels}"
        if not (math.isfinite(self.mean) and 0 < self.std < math.inf and 0 < self.span <= 8):
            return f"expected finite mean, std > 0, span in (0, 8]; got {self.mean}, {self.std}, {self.span}"
        if (self.kind == "class") != (self.classes is not None):
            return "class names belong to kind 'class', and only there"
        if self.classes is not None and self.alphabets != (len(self.classes),):
            return f"expected one level of {len(self.classes)} symbols for the classes, got {self.alphabets}"
        return ""

    @property
    def fine_bins(self) -> int:
        """Number of bins when all levels are known."""
        return math.prod(self.alphabets)

    def nearest(self, value: float, levels: int) -> float:
        """What is rebuilt of a scalar's or an angle's value when so many levels are known; 0: the mean."""
        bins, scalar = math.prod(self.alphabets[:levels]), self.kind == "scalar"
        if levels == 0:
            return self.mean
        if scalar:
            u = min(max((value - self.mean) / self.std, -self.span), self.span)
            share = (u + self.span) / (2 * self.span)
        else:
            share = (value + math.pi) % (2 * math.pi) / (2 * math.pi)
        found = float(_bin_values(self.kind, bins, self.span)[min(int(share * bins), bins - 1)])
        return self.mean + self.std * found if scalar else found


@dataclass(frozen=True)
class Vocabulary:
    """Labels in coding order, the version of the schema and the groups in the order in which they are shown."""

    labels: tuple[Label, ...]
    version: int
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        names = [label.name for label in self.labels]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if not names or doubled:
            raise SomacastError(f"vocabulary: expected labels with different names, got doubled {doubled}")
        strangers = sorted({label.group for label in self.labels} - set(self.groups))
        if strangers or len(set(self.groups)) != len(self.groups):
            raise SomacastError(f"vocabulary: labels name unlisted groups {strangers}, or a group is listed twice")

    @cached_property
    def levels(self) -> int:
        """Levels of the deepest label: last axis of every symbol array."""
        return max(len(label.alphabets) for label in self.labels)

    @cached_property
    def alphabets(self) -> np.ndarray:
        """[L, levels] int64, 0 where a label has no such level."""
        out = np.zeros((len(self.labels), self.levels), np.int64)
        for row, label in zip(out, self.labels, strict=True):
            row[: len(label.alphabets)] = label.alphabets
        return out

    @cached_property
    def level_counts(self) -> np.ndarray:
        """[L] int64: number of levels of each label."""
        return np.array([len(label.alphabets) for label in self.labels])

    @cached_property
    def minimum_levels(self) -> np.ndarray:
        """[L] int64: 1 for mandatory labels, 0 for optional ones."""
        return np.array([label.minimum_levels for label in self.labels])

    @cached_property
    def positions(self) -> dict[str, int]:
        """Label name -> index."""
        return {label.name: i for i, label in enumerate(self.labels)}

    def group_indices(self, group: str) -> np.ndarray:
        """Indices of the labels of a group, in coding order."""
        return np.array([i for i, label in enumerate(self.labels) if label.group == group], np.int64)

    @cached_property
    def contexts(self) -> tuple[tuple[int, ...], ...]:
        """Per label, the labels it is compared with (eq. 14): up to 8 next mandatory ones of its group, cyclic.

        Optional labels have no context and are in none: the decoder must know who is kept before it has their symbols.
        """
        contexts: list[tuple[int, ...]] = [() for _ in self.labels]
        for group in self.groups:
            members = [int(i) for i in self.group_indices(group) if self.minimum_levels[i]]
            for place, index in enumerate(members):
                count = min(CONTEXT_LABELS, len(members) - 1)
                contexts[index] = tuple(members[(place + 1 + k) % len(members)] for k in range(count))
        return tuple(contexts)

    @cached_property
    def context_pairs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """`contexts` as pairs, label by label: label [P], one of its context [P]; and of the labels that have a
        context: where their pairs begin [C], how many there are [C]."""
        held = [(index, context) for index, context in enumerate(self.contexts) if context]
        own = np.array([index for index, context in held for _ in context], np.int64)
        other = np.array([i for _, context in held for i in context], np.int64)
        counts = np.array([len(context) for _, context in held], np.int64)
        return own, other, np.cumsum(counts) - counts, counts

    def to_json(self) -> str:
        """Stable text form: the same vocabulary gives the same characters."""
        content = {"version": self.version, "groups": self.groups, "labels": [asdict(label) for label in self.labels]}
        return json.dumps(content, sort_keys=True, indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> Vocabulary:
        """Inverse of `to_json`; SomacastError if the text is no vocabulary."""
        try:
            content = json.loads(text)
            labels = []
            for entry in content["labels"]:
                classes = entry["classes"]
                entry = {**entry, "alphabets": tuple(entry["alphabets"])}
                labels.append(Label(**{**entry, "classes": None if classes is None else tuple(classes)}))
            return Vocabulary(tuple(labels), int(content["version"]), tuple(content["groups"]))
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise SomacastError(f"vocabulary: expected the JSON written by to_json, got a fault: {error}") from error

    @cached_property
    def digest(self) -> bytes:
        """sha256 of the JSON form, 32 bytes."""
        return hashlib.sha256(self.to_json().encode()).digest()

    def check_symbols(self, symbols: np.ndarray) -> np.ndarray:
        """Symbols [..., L, levels] as int64. ValueError for a wrong shape, a symbol outside its alphabet or below -1,
        a known level below an unknown one."""
        wide = np.asarray(symbols).astype(np.int64)
        if wide.shape[-2:] != self.alphabets.shape:
            raise ValueError(f"symbols: expected [..., {len(self.labels)}, {self.levels}], got {wide.shape}")
        if np.any(wide < -1) or np.any(wide >= self.alphabets):
            raise ValueError("symbols: a symbol is outside its alphabet")
        if np.any((wide[..., 1:] >= 0) & (wide[..., :-1] < 0)):
            raise ValueError("symbols: a level is given without the level above it")
        return wide

    def quantise(self, values: np.ndarray) -> np.ndarray:
        """Values [N, L] (labels' own units, radians, class indices; NaN = not there) to symbols [N, L, levels] int16.

        Levels that a label does not have, and all levels of a label that is not there, are -1.
        Raises ValueError for infinite values and for class values that are no index.
        """
        v = np.asarray(values, np.float64)
        if v.ndim != 2 or v.shape[1] != len(self.labels):
            raise ValueError(f"values: expected [N, {len(self.labels)}], got {v.shape}")
        there = ~np.isnan(v)
        v = np.where(there, v, 0.0)
        p = self._parameters
        is_class, is_circular = p["kind"] == 0, p["kind"] == 2
        classes = v[:, is_class]
        if np.any(np.isinf(v)) or np.any(
            (classes != np.rint(classes)) | (classes < 0) | (classes >= p["bins"][is_class])
        ):
            raise ValueError("values: expected finite numbers, and whole class indices inside their label's classes")
        u = np.clip((v - p["mean"]) / p["std"], -p["span"], p["span"])
        scalar = np.minimum(np.floor((u + p["span"]) / (2 * p["span"]) * p["bins"]), p["bins"] - 1)
        turn = np.mod(v + np.pi, 2 * np.pi) / (2 * np.pi)
        circular = np.floor(turn * p["bins"])  # rounding can give a full turn: the first digit wraps below
        bins = np.where(is_class, v, np.where(is_circular, circular, scalar)).astype(np.int64)
        alphabets = np.maximum(self.alphabets, 1)
        below = np.cumprod(alphabets[:, ::-1], 1)[:, ::-1] // alphabets  # fine bins of one symbol, [L, levels]
        digits = bins[..., None] // below % alphabets
        return np.where((self.alphabets > 0) & there[..., None], digits, -1).astype(np.int16)

    def dequantise(self, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Symbols [N, L, levels] to (values [N, L] float32, width [N, L] float32, present [N, L] bool).

        A scalar is rebuilt at the mean of a standard normal inside its bin, an angle at the bin's centre.
        width: half of the bin left open by the levels at hand, in standard deviations for scalars (span when
        missing), radians for angles (pi when missing), 0 for a class (1 when missing). A missing label has the
        label's mean. ValueError for symbols that `quantise` cannot give.
        """
        wide = self.check_symbols(symbols)
        index = np.zeros(wide.shape[:-1], np.int64)
        for level in range(self.levels):
            known = wide[..., level] >= 0
            index = np.where(known, index * self.alphabets[:, level] + wide[..., level], index)
        depth = (wide >= 0).sum(-1)
        present = depth > 0
        starts, widths, centres = self._reconstruction
        label = np.arange(len(self.labels))
        p = self._parameters
        unit = centres[starts[label, depth] + index]
        is_scalar = p["kind"] == 1
        values = np.where(is_scalar, p["mean"] + p["std"] * unit, unit)
        values = np.where(present, values, p["mean"])
        return values.astype(np.float32), widths[label, depth].astype(np.float32), present

    @cached_property
    def _parameters(self) -> dict[str, np.ndarray]:
        return {
            "kind": np.array([KINDS.index(label.kind) for label in self.labels]),
            "bins": np.array([label.fine_bins for label in self.labels]),
            "mean": np.array([label.mean for label in self.labels]),
            "std": np.array([label.std for label in self.labels]),
            "span": np.array([label.span for label in self.labels]),
        }

    @cached_property
    def _reconstruction(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """starts, widths [L, levels + 1] by label and number of known levels; centres: all bins' values, flat."""
        starts = np.zeros((len(self.labels), self.levels + 1), np.int64)
        widths = np.zeros(starts.shape)
        flat: list[np.ndarray] = []
        known: dict[tuple[str, int, float], int] = {}
        for row, label in enumerate(self.labels):
            for depth in range(len(label.alphabets) + 1):
                bins = math.prod(label.alphabets[:depth])
                key = (label.kind, bins, label.span)
                if key not in known:
                    known[key] = sum(len(part) for part in flat)
                    flat.append(_bin_values(*key))
                starts[row, depth] = known[key]
                by_kind = {"class": float(depth == 0), "scalar": label.span / bins, "circular": np.pi / bins}
                widths[row, depth] = by_kind[label.kind]
        return starts, widths, np.concatenate(flat)


@lru_cache(maxsize=256)
def _bin_values(kind: str, bins: int, span: float) -> np.ndarray:
    """Value of each of `bins` bins, [bins] float64: class index, angle in radians, or standardised scalar."""
    if kind == "class":
        return np.arange(bins, dtype=np.float64)
    if kind == "circular":
        return -np.pi + (np.arange(bins) + 0.5) * (2 * np.pi / bins)
    edges = np.linspace(-span, span, bins + 1)
    density = np.exp(-0.5 * edges**2) / math.sqrt(2 * math.pi)
    # the tail beyond each edge is taken on the edge's own side, where it is small and so exact
    tail = np.array([0.5 * math.erfc(abs(edge) / math.sqrt(2)) for edge in edges])
    lower, upper, inner, outer = edges[:-1], edges[1:], tail[:-1], tail[1:]
    mass = np.where(lower >= 0, inner - outer, np.where(upper <= 0, outer - inner, 1 - outer - inner))
    centre = 0.5 * (lower + upper)
    mean = np.where(mass > 0, (density[:-1] - density[1:]) / np.where(mass > 0, mass, 1.0), centre)
    return np.clip(mean, lower, upper)
