"""The one interface behind which every way of sending a person stands.

    SystemSpec -> encoder.encode(Capture) -> Encoded -> container -> Payload -> decoder.decode -> Reconstruction
               -> LiveSpec: Tracker -> FrameCoder -> packets -> FrameCoder -> LiveBody
               -> Trainer: what `somacast train NAME` runs

A system is a folder with a spec.py that exports SPEC; nothing outside of it knows which system runs.
docs/adding_a_system.md goes through all of this with a system of fifty lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:  # the registry must load in no time
    import numpy as np

    from somacast.bitstream.packets import Motion
    from somacast.geometry.reconstruction import Reconstruction
    from somacast.geometry.rig import Rig
    from somacast.types import Capture, Encoded, Payload


class Kind(StrEnum):
    """What a reconstruction can be asked for beside `render`."""

    MESH = "mesh"
    GAUSSIANS = "gaussians"
    FIELD = "field"
    IMAGE = "image"
    SKELETON = "skeleton"  # joints and their rotations
    RIG = "rig"  # a surface hung on the skeleton, which poses drive


@dataclass(frozen=True)
class Inputs:
    """What a capture must hold. views: one picture, two of one moment, or several in time; cameras: whether calibrated
    cameras are needed; mask: whether benchmarks hand over the true silhouette (pictures get the best crop there is)."""

    views: Literal["mono", "stereo", "clip"] = "mono"
    cameras: bool = False
    mask: bool = False


# -- stills ------------------------------------------------------------------------------------------------------------


class Encoder(Protocol):
    """Sender's half."""

    def encode(self, capture: Capture, budget_bytes: int | None = None, network_state: int = 0) -> Encoded:
        """A capture to layers, coarse first.

        budget_bytes: the most bytes the whole file may have (`bitstream.container.packed_bytes` tells its size from the
        lengths of the layers), None for full quality; network_state: f of eq. 18 as 0 .. 255, how hard the network asks
        to compress: a hint that a system may leave alone. SomacastError if there is no person, or the budget is too
        small for any.
        """
        ...


@runtime_checkable
class SearchingEncoder(Protocol):
    """An encoder that looks for the best of many settings, and can be told what an earlier search found: benchmarks
    with the same people then need not search again. Its reports have `setting`, a line of text that names what was
    taken, and may have `search`, figures of the search ("attempt": how many settings were better but of no use)."""

    def encode_again(self, capture: Capture, setting: str, budget_bytes: int) -> Encoded | None:
        """The layers of one setting; None if it is none of this encoder's, or of no use within the budget."""
        ...


class Decoder(Protocol):
    """Receiver's half."""

    def decode(self, payload: Payload) -> Reconstruction:
        """The person in the layers at hand; BitstreamError for layers that no encoder makes."""
        ...


# -- live --------------------------------------------------------------------------------------------------------------


class Observation(Protocol):
    """One frame as a tracker saw it."""

    @property
    def moving(self) -> np.ndarray:
        """Values [M] of what moves."""
        ...


class Tracker(Protocol):
    """Follows one person through the frames of one camera. notes: for the user. Not for several threads."""

    notes: list[str]

    def warm_up(self) -> None:
        """Run everything once, so that the first frame does not pay for loading."""
        ...

    def look(self, capture: Capture, time_s: float) -> Any:
        """An `Observation` of a frame of time_s. SomacastError if no person is seen."""
        ...

    def learn(self, observation: Any, time_s: float, /) -> Encoded:
        """Take a frame into account for who it is; what is known by now."""
        ...


@runtime_checkable
class TurningTracker(Protocol):
    """A tracker for films that cut: it can look for the person anew, and others of its kind can follow other people."""

    def cut(self) -> None:
        """The next frame shows the same person at another place, in another pose: nothing of where they were helps."""
        ...

    def fresh(self) -> Tracker:
        """Another tracker with the same networks, which has seen nobody."""
        ...


@runtime_checkable
class PicturingTracker(Protocol):
    """A tracker that can make stills of who it follows, with their picture: looks, which live senders choose from."""

    def worth(self, observation: Any, /) -> float:
        """How well a frame shows who it is, 0 (not at all) to 1: sharp, facing the camera, unhidden, large."""
        ...

    def still(self, observation: Any, /) -> Callable[[int], Encoded | None]:
        """What makes the layers of a still of a frame, with its picture and with who it is as it is known by now, in a
        file of at most so many bytes (None: too few for a picture); it may be called beside the tracker, by another
        thread. Nothing of the background is in them."""
        ...


@dataclass(frozen=True)
class ReceivedFrame:
    """A frame as a receiver has it: values [M] at a tick. own: False for a coarse copy in place of a lost one."""

    tick: int
    values: np.ndarray
    own: bool


class FrameEncoder(Protocol):
    """Sender's side of a stream of frames: frames to the bodies of packets."""

    def encode(
        self, ticks: Sequence[int], values: np.ndarray, *, person: int = 0, lowest_state: int = 0,
        budget_bytes: int | None = None, reference: int | None = None, copies: Sequence[int] = (),
    ) -> Motion:  # fmt: skip
        """Frames [T, M] at even ticks to one packet body; see `bitstream.packets.Motion` and
        `coding.motion_stream.MotionEncoder.encode` for what the arguments ask. A coder without references or copies
        leaves them out of the body."""
        ...


class FrameDecoder(Protocol):
    """Receiver's side."""

    @property
    def unreferenced(self) -> int:
        """Packets so far that referred to a frame that never came."""
        ...

    def decode(self, motion: Motion, tick: int) -> list[ReceivedFrame]:
        """Frames of a packet whose first one stands at `tick` (unwrapped); BitstreamError for what no encoder makes."""
        ...


class FrameCoder(Protocol):
    """How values that move become packets. system: its name; digest: three bytes that name the weights of stream and
    files; circular [M] bool: columns that are angles in radians; scale [M]: how far values usually lie apart."""

    system: str
    digest: bytes
    circular: np.ndarray
    scale: np.ndarray

    def encoder(self) -> FrameEncoder: ...

    def decoder(self) -> FrameDecoder: ...

    def values(self, payload: Payload) -> np.ndarray:
        """Values [M] in a still: how the person stands in it."""
        ...

    def missing(self, payload: Payload | None) -> dict[str, int]:
        """What of who it is has not come, by group (None: nothing has); BitstreamError for layers no encoder makes."""
        ...

    def compression(self, values: np.ndarray, network_state: int) -> dict[str, float]:
        """How strongly each group of values of one frame [M] is compressed at a network state, 0 .. 1 (eq. 17); empty
        for a coder that does not tell groups apart."""
        ...

    def rehearse(self, rotations: np.ndarray, pelvis_m: np.ndarray) -> tuple[np.ndarray, Encoded]:
        """Somebody average who moves as told, for tests and benchmarks of the network: world rotations [T, 21, 3, 3],
        pelvis [T, 3] before the camera (x right, y up, z to the camera, metres) to values [T, M] and who it is."""
        ...


@dataclass(frozen=True)
class LivePose:
    """rotations [21, 3, 3]: world rotations relative to the T-pose; pelvis_m [3]: x right, y up, z to the camera, the
    camera at the origin."""

    rotations: np.ndarray
    pelvis_m: np.ndarray


class LiveBody(Protocol):
    """Somebody who can be shown in every frame: by a rig that poses drive (`rig` is not None, and `pose` is called), or
    made anew for each frame (`rig` is None, and `reconstruct` is called)."""

    @property
    def rig(self) -> Rig | None:
        """What poses drive."""
        ...

    def pose(self, values: np.ndarray) -> LivePose:
        """Values [M] of what moves to a pose."""
        ...

    def reconstruct(self, values: np.ndarray) -> Reconstruction:
        """Values [M] of what moves to the person."""
        ...


@dataclass(frozen=True)
class LiveSpec:
    """A system's live half. tracker(config, device, careful): careful trackers look longer at each frame; coder(): the
    frame coder; body(decoder, payload): who it is as somebody who can move (None: nobody has told yet, and the
    system shows what it can), body(decoder, payload, look): with the picture of a still that a `PicturingTracker` made;
    called with a look only where one has come. BitstreamError for layers that no encoder makes."""

    tracker: Callable[[Any, str, bool], Tracker]
    coder: Callable[[], FrameCoder]
    body: Callable[..., LiveBody]


# -- training, and all together ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trainer:
    """One thing that can be trained. config: "module:Dataclass", which is its command line; run: "module:function" of
    that config; summary: one line of help. Both are loaded only when they are asked for."""

    config: str
    run: str
    summary: str


@dataclass(frozen=True)
class Study:
    """One measurement of a system's own parts. config, summary: as of a Trainer; run: "module:function" of that config,
    gives {"results"}, and "weights_sha256" if they are not the package's, for `bench.results.write_study`."""

    config: str
    run: str
    summary: str


@dataclass(frozen=True)
class SystemSpec:
    """What everything outside of a system's folder knows of it.

    name: one spelling everywhere; title: for tables and plots; inputs; outputs: what a Reconstruction of it offers;
    variants: named configurations beside the default, config(); encoder, decoder: of (config, device), loaded;
    weights_digest(): three bytes that name the weights its layers need; describe: a payload as tables for `info`
    ({"groups": [...], "labels": [...]}, see pipeline/still/inspect.py), without networks; requires: packages of extras
    it cannot run without, and for what; everyday: what anybody would use instead, shown beside others by the demo;
    textured: a configuration and a side in texels to the configuration whose people have textures of that side, None
    for a system whose people have none of a chosen size; live; trainers: by stage, the first is what `train NAME` runs;
    studies: what it measures of its own parts, for `bench study NAME STUDY`.
    """

    name: str
    title: str
    inputs: Inputs
    outputs: frozenset[Kind]
    config: Callable[[], Any]
    encoder: Callable[[Any, str], Encoder]
    decoder: Callable[[Any, str], Decoder]
    weights_digest: Callable[[], bytes] = lambda: b"\0\0\0"
    describe: Callable[[Payload], dict[str, Any]] = lambda payload: {}
    variants: Mapping[str, Any] = field(default_factory=dict)
    requires: Mapping[str, str] = field(default_factory=dict)
    everyday: bool = False
    textured: Callable[[Any, int], Any] | None = None
    live: LiveSpec | None = None
    trainers: Mapping[str, Trainer] = field(default_factory=dict)
    studies: Mapping[str, Study] = field(default_factory=dict)
