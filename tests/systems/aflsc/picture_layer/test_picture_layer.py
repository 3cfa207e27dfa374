"""The picture behind the labels: canvas, coded picture, and a person through the real networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from somacast.bitstream.container import pack, unpack
from somacast.errors import BitstreamError
from somacast.geometry.rasteriser import render_camera
from somacast.metrics.protocol import Reference
from somacast.metrics.views import view_camera
from somacast.pipeline.still.receiver import Receiver
from somacast.pipeline.still.sender import Sender, SenderResult
from somacast.synthetic.datasets.loaders import EvalItem, synthetic_test, truth_of
from somacast.systems import registry
from somacast.systems.aflsc.networks.loading import load_tables
from somacast.systems.aflsc.picture_layer.aligned import PosedBody
from somacast.systems.aflsc.picture_layer.canvas import MAX_CANVAS_PX, Canvas, grid_places
from somacast.systems.aflsc.picture_layer.coding import best_picture, decode_picture
from somacast.systems.aflsc.picture_layer.face import (
    FACED_CANVAS_PX,
    _face_vertices,
    aspect_of,
    face_box,
    shows_face,
    with_face,
)
from somacast.systems.aflsc.picture_layer.send import CanvasPicture, picture_on_canvas
from somacast.systems.aflsc.picture_layer.share import MIN_PICTURED_BYTES, label_state, plan_of
from somacast.systems.aflsc.picture_layer.show import Shown
from somacast.systems.aflsc.picture_layer.warp import NO_WARP
from somacast.systems.aflsc.receiver.assemble import skinned_mesh
from somacast.types import Capture, Frame, Mesh, Payload

PELVIS_M = np.array([0.2, -0.1, 3.0])


@pytest.fixture(scope="module")
def body() -> Mesh:
    """Somebody of mean build in the pose of the basis' middle."""
    space = load_tables().space
    values = np.array([label.mean for label in space.vocabulary.labels])
    return PosedBody.of(space.state(values), space).aligned(NO_WARP.heights).mesh


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


# -- canvas ------------------------------------------------------------------------------------------------------------


def test_the_canvas_holds_the_body_with_a_margin(body):
    canvas = Canvas.of(body.vertices, PELVIS_M)
    places = canvas.places(body.vertices)
    assert places.min() > 0.02 and places.max() < 0.98
    seen = render_camera(body, canvas.camera(round(200 * canvas.aspect), 200)).mask
    rows = np.flatnonzero(seen.any(1))
    assert rows[0] > 2 and rows[-1] < 197 and rows[-1] - rows[0] > 170


def test_places_and_camera_agree(body):
    canvas = Canvas.of(body.vertices, PELVIS_M)
    pixels = canvas.camera(120, 300).project(body.vertices.astype(np.float64))[:, :2]
    assert np.allclose(pixels / [120, 300], canvas.places(body.vertices), atol=1e-6)
    tangents = canvas.tangents(np.array([[0.0, 0.0], [1.0, 1.0]]))
    assert np.allclose(tangents, [canvas.low, canvas.high])


def test_points_that_are_moved_appear_where_they_should(body):
    canvas = Canvas.of(body.vertices, PELVIS_M)
    by = np.tile([0.03, -0.02], (len(body.vertices), 1))
    moved = canvas.moved(body.vertices, by)
    assert np.allclose(canvas.places(moved) - canvas.places(body.vertices), by, atol=1e-5)
    assert np.array_equal(moved[:, 2], body.vertices[:, 2])


# -- the picture -------------------------------------------------------------------------------------------------------


def test_the_best_picture_fits_and_gets_better_with_room():
    y, x = np.mgrid[:320, :160]
    picture = np.stack([0.5 + 0.4 * np.sin(x / (5 + k)) * np.sin(y / 11) for k in range(3)], -1).astype(np.float32)
    counts = ((x - 80) / 60) ** 2 + ((y - 160) / 140) ** 2 < 1
    errors = []
    for room in (80, 300, 1500):
        found = best_picture(picture, counts, room)
        assert found is not None and 0.85 * room < len(found) <= room
        errors.append(float(np.abs(decode_picture(found, 0.5) - picture)[counts].mean()))
    assert errors[0] > errors[1] > errors[2]
    assert best_picture(picture, counts, 4) is None


@pytest.mark.parametrize("data", [b"", b"\5\5", b"\0\5abc", b"\4\4" + b"x" * 30])
def test_picture_layers_that_hold_none_are_refused(data):
    with pytest.raises(BitstreamError):
        decode_picture(data, 1.0)


def test_places_of_a_grid_are_the_middles_of_pixels():
    assert grid_places(2, 4)[0].tolist() == [[0.25, 0.125], [0.75, 0.125]]


# -- the face ----------------------------------------------------------------------------------------------------------


def test_the_box_of_the_face_lies_before_the_head(body):
    canvas = Canvas.of(body.vertices, PELVIS_M)
    low, high = face_box(body.vertices, canvas)
    assert (low > 0).all() and (high < 1).all() and 0.08 < high[1] - low[1] < 0.2 and low[1] < 0.1
    lower = canvas.places(body.vertices)[:, 1] > 0.5
    assert not lower[_face_vertices()].any() and 1000 < len(_face_vertices()) < 4000
    assert 0.6 < aspect_of(np.array([low, high]), canvas) < 1.2


def test_a_face_lies_in_its_box_and_makes_the_canvas_finer():
    picture, box = np.zeros((320, 160, 3), np.float32), np.array([[0.4, 0.1], [0.6, 0.2]])
    face = np.ones((64, 64, 3), np.float32)
    out = with_face(picture, face, box)
    assert out.shape == (640, 320, 3)  # the box has as many pixels as the face
    assert out[96, 160].min() == 1 and out[64:128, 128:192].mean() > 0.7
    assert not out[:64].any() and not out[128:].any() and not out[:, :128].any() and not out[:, 192:].any()
    same = with_face(picture, face[:8, :8], box)
    assert same.shape == picture.shape and same[48, 80].min() == 1 and not picture.any()


def test_faces_of_any_size_leave_the_canvas_bounded():
    picture = np.zeros((320, 160, 3), np.float32)
    for box in ([[0.4, 0.1], [0.6, 0.11]], [[0.0, 0.0], [1.0, 1.0]], [[0.5, 0.5], [0.501, 0.501]]):
        out = with_face(picture, np.ones((2040, 8, 3), np.float32), np.array(box))
        assert max(out.shape) <= FACED_CANVAS_PX and out.max() <= 1


# -- through the real networks -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def item() -> EvalItem:
    return next(iter(synthetic_test(1)))


@pytest.fixture(scope="module")
def sent(item) -> dict[int, SenderResult]:
    sender = Sender()
    return {budget: sender.encode(item.capture(), budget) for budget in (110, 400, 900)}


@pytest.fixture(scope="module")
def faced(item) -> bytes:
    """A file with a face, from a picture of more pixels."""
    fine = np.repeat(np.repeat(list(synthetic_test(3))[2].frame.image, 2, 0), 2, 1)
    return Sender().encode(Capture([Frame(fine)]), 2000).data


def test_budgets_are_kept_and_spent(sent):
    for budget, result in sent.items():
        assert len(result.data) <= budget
    assert len(unpack(sent[110].data)[0].layers) <= 4
    for budget in (400, 900):
        assert len(sent[budget].data) > 0.85 * budget and len(unpack(sent[budget].data)[0].layers) == 6


def test_the_picture_brings_the_person_nearer_to_the_input(sent, item):
    """Outline, and colours where networks do not take its light away, seen through the sender's own camera."""
    receiver, reference = Receiver(variants={"aflsc": "aflsc:without_networks"}), Reference(truth_of(item))
    errors, overlaps = [], []
    for result in sent.values():
        human = receiver.decode(result.data).human
        seen = human.render(view_camera(item.frame.lens, human.pelvis_m))
        both = seen.mask & (item.true_silhouette() > 0.5)
        errors.append(float(np.abs(seen.rgb - item.frame.image)[both].mean()))
        overlaps.append(reference.compare(Receiver().decode(result.data).human)["input_iou"])
    assert overlaps[1] > overlaps[0] and overlaps[1] > 0.91
    assert errors[2] < errors[0]


def test_a_file_without_its_picture_still_gives_the_person(sent):
    payload, _ = unpack(sent[400].data)
    cut = sent[400].data[: -len(payload.layers[-1]) // 2]
    shorter, notes = unpack(cut)
    assert len(shorter.layers) == 5 and shorter.announced == 6 and notes
    human = Receiver().decode(cut).human
    labels_alone = sent[400].data[: -len(payload.layers[-1]) - len(payload.layers[-2]) - 4]
    plain = Receiver().decode(labels_alone).human
    assert np.array_equal(human.joints, plain.joints) and len(human.surface().faces) > 10_000
    codec = load_tables().codec
    kept, _ = unpack(labels_alone)
    assert np.array_equal(codec.symbols(kept.layers, kept.announced), codec.symbols(payload.layers, payload.announced))


def test_label_layers_beside_a_picture_are_refused(sent):
    """All labels are in the base there; files that were made otherwise were never released."""
    payload, _ = unpack(sent[400].data)
    with pytest.raises(BitstreamError, match="layers 1 to 3 without bytes"):
        load_tables().codec.symbols([payload.layers[0], b"", b"x", *payload.layers[3:]])


def test_a_picture_of_somebody_else_is_left_out(sent, item):
    """Same lengths, another base: the check of what is behind it does not fit."""
    payload, _ = unpack(sent[400].data)
    tail = len(payload.layers[-1]) + 2
    other = [bytes([payload.layers[0][0], payload.layers[0][1] ^ 1]) + payload.layers[0][2:], *payload.layers[1:]]
    foreign = pack(Payload(payload.system, payload.weights_digest, other))[:-tail] + sent[400].data[-tail:]
    read, notes = unpack(foreign)
    assert len(read.layers) == 5 and "another person" in notes[0]
    assert Receiver().decode(foreign).human.mesh is not None


def test_a_damaged_picture_is_left_out_and_the_person_stays(sent):
    broken = bytearray(sent[400].data)
    broken[-50] ^= 8
    result = Receiver().decode(bytes(broken))
    assert result.human.mesh is not None and "Layer 5 of 5 is damaged" in result.notes[0]


def test_a_picture_layer_of_nonsense_is_refused(sent):
    payload, _ = unpack(sent[400].data)
    layers = [*payload.layers[:5], b"\0\x08" + bytes(200)]
    with pytest.raises(BitstreamError):
        Receiver().decode(pack(Payload(payload.system, payload.weights_digest, layers)))


def test_info_tells_of_the_picture(sent, faced):
    described = registry.get("aflsc").spec.describe(unpack(sent[900].data)[0])
    assert described["picture_bytes"] > 500 and described["picture"].endswith(" px") and "face" not in described
    described = registry.get("aflsc").spec.describe(unpack(sent[110].data)[0])
    assert "picture" not in described and "warp_bytes" not in described
    described = registry.get("aflsc").spec.describe(unpack(faced)[0])
    assert 200 < described["face_bytes"] < 500 < described["picture_bytes"] and described["face"].endswith(" px")


def test_what_the_picture_does_not_show_has_the_colours_of_the_labels(item):
    """Of somebody whose legs are hidden the picture says nothing there: what goes on from the hips is no trousers."""
    encoder = Sender().encoder
    values, _, look = encoder.see(item.capture())
    state = encoder.space.state(values)
    mask = look.mask.copy()
    rows = np.flatnonzero((mask > 0.5).any(1))
    mask[(rows[0] + rows[-1]) // 2 :] = 0
    half = replace(look, mask=mask)
    whole, cut = (picture_on_canvas(item.frame, one, encoder.space, values, state) for one in (look, half))
    colored = skinned_mesh(state, *encoder.space.appearance.chart_maps(state.codes))

    def off(shown: CanvasPicture) -> float:
        """How far the picture is from the labels' colours at the legs."""
        body = PosedBody.of(state, encoder.space).aligned(shown.warp.heights)
        height, width = shown.counts.shape
        base = render_camera(replace(body.mesh, colors=colored.colors), body.canvas.camera(width, height))
        legs = base.mask & (np.arange(height) > 0.75 * height)[:, None]
        return float(np.abs(shown.picture - base.rgb)[legs].mean())

    assert off(cut) < 0.03 < off(whole)


def test_changed_picture_layers_are_refused_or_bounded(faced):
    payload, _ = unpack(faced)
    space, codec = load_tables().space, load_tables().codec
    state = space.state(space.vocabulary.dequantise(codec.symbols(payload.layers)[None])[0][0])
    rng, refused = np.random.default_rng(5), 0
    for number in range(120):
        layers = [bytearray(layer) for layer in payload.layers[4:] if layer]
        layer = layers[1 + number % 2]
        for _ in range(1 + number % 3):
            layer[int(rng.integers(len(layer) if number % 4 else 2))] = int(rng.integers(256))
        if number % 5 == 0:
            del layer[int(rng.integers(len(layer))) :]
        try:
            picture = Shown.of(state, space, [bytes(one) for one in layers]).picture
        except BitstreamError:
            refused += 1
            continue
        assert picture is not None and max(picture.shape) <= MAX_CANVAS_PX and 0 <= picture.min() <= picture.max() <= 1
    assert 10 < refused < 120


def test_a_face_is_sent_once_more_and_may_be_lost(faced):
    """What is lost with the face is only how fine it is."""
    payload, _ = unpack(faced)
    assert len(payload.layers) == 8 and not payload.layers[6] and 1850 < len(faced) <= 2000
    space, codec = load_tables().space, load_tables().codec
    symbols = codec.symbols(payload.layers)
    state = space.state(space.vocabulary.dequantise(symbols[None])[0][0])
    assert shows_face(state)
    whole, without = (Shown.of(state, space, [*payload.layers[4:6], *payload.layers[7:end]]) for end in (8, 7))
    assert whole.picture is not None and without.picture is not None
    assert len(whole.picture) > len(without.picture)
    cut, notes = unpack(faced[:-10])
    assert len(cut.layers) == 7 and notes
    assert np.array_equal(codec.symbols(cut.layers, cut.announced), symbols)


def test_a_budget_without_room_for_a_picture_says_so(sent):
    (note,) = [note for note in sent[110].report["notes"] if "sent without" in note]
    assert note.startswith("of a budget of 110 bytes the labels take ")
    assert f"a file of {MIN_PICTURED_BYTES} or more" in note
    assert not any("sent without" in note for note in sent[400].report["notes"])


def test_labels_before_a_picture_are_coarser_in_small_files():
    assert plan_of(MIN_PICTURED_BYTES - 1, tokens=False) is None
    states = [label_state(budget) for budget in (MIN_PICTURED_BYTES, 400, 1000, 5000, 100_000)]
    assert states == sorted(states, reverse=True) and states[0] > 100 and states[-1] == 0
    assert label_state(5000, 200) == 200


def test_layers_that_no_sender_makes_are_refused(sent):
    payload, _ = unpack(sent[400].data)
    with pytest.raises(BitstreamError, match="the file has 9 layers, expected 1 to 8"):
        load_tables().codec.symbols([*payload.layers, b"", b"", b""])
