"""What AFLSC's tracker makes of a frame as a look: nothing of the background, and the frame that shows most."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from somacast.bitstream.container import unpack
from somacast.errors import BitstreamError
from somacast.geometry.gaussian import gaussian_filter
from somacast.geometry.rasteriser import render_camera
from somacast.geometry.rig import posed
from somacast.synthetic.datasets.loaders import EvalItem, synthetic_test
from somacast.systems import registry
from somacast.systems.aflsc.labels.codec import LabelCodec
from somacast.systems.aflsc.live.tracker import Seen, Tracker
from somacast.systems.aflsc.live.worth import sharpness
from somacast.systems.aflsc.networks.loading import load_tables
from somacast.systems.aflsc.picture_layer.coding import decode_picture
from somacast.systems.aflsc.picture_layer.cutout import surely_person
from somacast.systems.aflsc.picture_layer.show import Shown
from somacast.systems.spec import PicturingTracker
from somacast.types import Capture, Frame, Payload

MAGENTA = np.array([1.0, 0.0, 1.0], np.float32)


@pytest.fixture(scope="module")
def people() -> list[EvalItem]:
    return list(synthetic_test(3))


@pytest.fixture(scope="module")
def item(people: list[EvalItem]) -> EvalItem:
    return people[0]


@pytest.fixture(scope="module")
def tracker() -> Tracker:
    made = registry.get("aflsc").tracker()
    assert isinstance(made, Tracker) and isinstance(made, PicturingTracker)
    return made


def on_magenta(item: EvalItem) -> Frame:
    """The person before a colour that nobody wears; pixels of the edge are mixtures, as a camera makes them."""
    mask = item.true_silhouette()[..., None].astype(np.float32)
    return Frame((mask * item.frame.image + (1 - mask) * MAGENTA).astype(np.float32))


def seen_on(tracker: Tracker, frame: Frame, time_s: float = 0.0) -> Seen:
    tracker.cut()
    return tracker.look(Capture([frame]), time_s)


def magenta(colors: np.ndarray) -> np.ndarray:
    """How far colours [..., 3] lean towards it."""
    return np.minimum(colors[..., 0], colors[..., 2]) - colors[..., 1]


@pytest.mark.parametrize("budget", [450, 5400])
def test_nothing_of_the_background_is_in_a_look(tracker: Tracker, people: list[EvalItem], budget: int) -> None:
    """Of masks alone gaps between legs and edges would be full of magenta, of which these people wear little."""
    for item in (people[0], people[2]):
        encoded = tracker.still(seen_on(tracker, on_magenta(item)))(budget)
        assert encoded is not None
        picture = decode_picture(encoded.layers[-1], 0.5)
        own = item.frame.image[item.true_silhouette() > 0.5]
        assert magenta(picture).max() < max(0.4, magenta(own).max() + 0.1) < 0.6


def test_background_in_gaps_that_the_mask_lacks_is_not_the_person() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:200, :160]
    body, gap = np.abs(x - 80) < 50, (np.abs(x - 80) < 4) & (y > 120)
    colors = np.where((y // 12 % 2)[..., None] == 0, [0.2, 0.3, 0.7], [0.9, 0.9, 0.9])  # stripes
    background = np.array([0.1, 0.5, 0.1]) + 0.02 * rng.standard_normal((200, 160, 3))
    picture = np.where((body & ~gap)[..., None], colors, background).astype(np.float32)
    mask = np.where(body, np.where(gap, 0.9, 1.0), 0.0).astype(np.float32)
    sure = surely_person(picture, mask)
    assert not (sure & (gap | ~body)).any()
    inner = (np.abs(x - 80) < 48) & (np.abs(x - 80) > 8) & (y > 2) & (y < 197)
    assert sure[inner].all()  # both kinds of stripes


def test_a_look_is_a_still_of_its_moment_with_who_it_is(tracker: Tracker, item: EvalItem) -> None:
    seen = seen_on(tracker, item.frame)
    tracker.learn(seen, 0.0)
    encoded = tracker.still(seen)(1600)
    assert encoded is not None
    system = registry.get("aflsc")
    data = system.pack(encoded.layers)
    assert 1300 < len(data) <= 1600
    payload, _ = unpack(data)
    values = system.live.coder().values(payload)
    assert np.abs(values - seen.values[tracker.motion.columns]).max() < 0.5
    assert system.live.coder().missing(payload) == {}
    cut = Payload(payload.system, payload.weights_digest, payload.layers[:5], len(payload.layers))
    assert set(system.live.coder().missing(cut)) == {"appearance", "face"}
    assert tracker.still(seen)(100) is None


def test_sharp_large_unhidden_frames_that_face_the_camera_are_worth_more(tracker: Tracker, item: EvalItem) -> None:
    seen = seen_on(tracker, item.frame)
    worth = tracker.worth(seen)
    assert 0 < worth <= 1
    blurred = replace(seen, frame=Frame(gaussian_filter(item.frame.image, 3.0, 9, (0, 1)).astype(np.float32)))
    assert tracker.worth(blurred) < 0.8 * worth
    small = replace(seen.look, box=replace(seen.look.box, side=seen.look.box.side / 4))
    assert tracker.worth(replace(seen, look=small)) < 0.8 * worth
    joints = seen.look.unseen.hidden | (np.arange(21) > 12)
    hidden = replace(seen.look, unseen=replace(seen.look.unseen, hidden=joints))
    assert tracker.worth(replace(seen, look=hidden)) < 0.6 * worth
    doubtful = replace(seen.look, out=seen.look.out | {"confidence": np.full(21, 0.05)})
    assert tracker.worth(replace(seen, look=doubtful)) == 0


def test_sharpness_is_of_detail_not_of_light() -> None:
    noise = np.random.default_rng(0).random((64, 64))
    assert sharpness(noise) == pytest.approx(sharpness(0.2 * noise + 0.5))
    assert sharpness(gaussian_filter(noise, 2.0, 6, (0, 1))) < 0.5 * sharpness(noise)
    assert sharpness(np.full((64, 64), 0.3)) == 0


def test_a_codec_knows_what_is_behind_the_labels() -> None:
    codec: LabelCodec = load_tables().codec
    layers = [b"x"] * codec.label_layers

    def payload(count: int, announced: int = 0, empty: int | None = None) -> Payload:
        behind = [b"" if k == empty else b"y" for k in range(count)]
        return Payload("aflsc", codec.digest, [*layers, *behind], announced and codec.label_layers + announced)

    seen = [codec.is_seen(payload(k)) for k in range(5)]
    assert seen == [False, True, True, True, True]
    assert list(codec.look(payload(1))) == ["tokens"] and list(codec.look(payload(1, 3))) == ["warp"]
    assert not codec.is_seen(payload(1, 3)) and not codec.look(payload(0, 2))
    assert list(codec.look(payload(4))) == ["warp", "picture", "tokens", "face"]
    assert list(codec.look(payload(4, empty=2))) == ["warp", "picture", "face"]
    assert list(codec.look(payload(2, empty=0))) == ["warp", "picture"]
    assert 0 < codec.redundant.sum() < len(codec.redundant)


# -- on the rig --------------------------------------------------------------------------------------------------------


def test_the_rig_wears_the_picture_of_the_look(tracker: Tracker, item: EvalItem) -> None:
    """Moved into the look's pose and seen from its camera, it shows what the look shows."""
    system = registry.get("aflsc")
    decoder, coder = registry.get("aflsc:without_networks").decoder(), system.live.coder()
    seen = seen_on(tracker, item.frame)
    who = unpack(system.pack(tracker.learn(seen, 0.0).layers))[0]
    encoded = tracker.still(seen)(5400)
    assert encoded is not None
    look = unpack(system.pack(encoded.layers))[0]
    codec, space = load_tables().codec, load_tables().space
    symbols = codec.symbols(look.layers)
    sent = space.state(space.vocabulary.dequantise(symbols[None])[0][0])
    shown = Shown.of(sent, space, look.layers[codec.label_layers :])
    assert shown.picture is not None
    height, width = shown.picture.shape[:2]
    errors, rigs = [], []
    for parts in ((who,), (who, look), (look,)):
        body = system.live.body(decoder, *parts)
        pose = body.pose(coder.values(look))
        assert body.rig is not None
        rigs.append(body.rig)
        mesh = posed(body.rig, pose.rotations, np.zeros(3))
        assert np.linalg.norm(mesh.vertices - shown.body.skin.vertices, axis=1).mean() < 0.1
        mesh = replace(mesh, vertices=shown.body.skin.vertices)  # onto the picture, where the warp brings it
        seen_again = render_camera(mesh, shown.body.canvas.camera(width, height))
        errors.append(float(np.abs(seen_again.rgb - shown.picture)[seen_again.mask].mean()))
    assert max(errors[1:]) < 0.5 * errors[0]
    assert np.array_equal(rigs[0].mesh.vertices, rigs[1].mesh.vertices)  # what is told of the build stays


def test_a_look_of_nonsense_is_refused(tracker: Tracker, item: EvalItem) -> None:
    system = registry.get("aflsc")
    encoded = tracker.still(seen_on(tracker, item.frame))(900)
    assert encoded is not None
    payload = unpack(system.pack([*encoded.layers[:-1], b"\0\x08" + bytes(200)]))[0]
    with pytest.raises(BitstreamError):
        system.live.body(system.decoder(), None, payload)
