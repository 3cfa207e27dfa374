"""AFLSC with the weights that ship in the package: picture -> bytes -> person, and what happens to bad bytes.

The bounds are those of a sane person, not of a good one: quality is measured by `somacast evaluate`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from somacast.bitstream import container
from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.errors import BitstreamError, SomacastError
from somacast.metrics.shape import mpjpe
from somacast.pipeline.still.receiver import Receiver, ReceiverResult, open_payload
from somacast.pipeline.still.sender import Sender, SenderResult
from somacast.synthetic.samples import Sample, SceneConfig, SyntheticPeople
from somacast.systems.aflsc.networks.loading import (
    load_sender,
    load_states,
    load_tables,
    network_arrays,
)
from somacast.types import Capture, Frame
from somacast.weights.manifest import FOLDER, list_weights

FILE = "aflsc.safetensors"


def _why_not() -> str:
    if not (FOLDER / FILE).is_file():
        return f"{FILE} is not in the package: nothing of the trained AFLSC is tested (somacast train aflsc)"
    if FILE not in [entry["file"] for entry in list_weights()]:
        return f"{FILE} has no entry in manifest.json: nothing of the trained AFLSC is tested"
    return ""


pytestmark = pytest.mark.skipif(bool(_why_not()), reason=_why_not())


@lru_cache(maxsize=1)
def sample() -> Sample:
    """A test person of the built-in wardrobe; nothing of them was seen in training."""
    scene = SceneConfig(size_px=256, views_per_person=1)
    return next(SyntheticPeople("test", seed=21, config=scene, actions=("standing",)).samples(0))


def frame(with_mask: bool = True) -> Frame:
    mask = sample().silhouette.astype(np.float32) / 255
    return Frame(sample().image.astype(np.float32) / 255, mask if with_mask else None)


@lru_cache(maxsize=1)
def sender() -> Sender:
    return Sender("aflsc")


@lru_cache(maxsize=1)
def receiver() -> Receiver:
    return Receiver()


@lru_cache(maxsize=1)
def sent() -> SenderResult:
    return sender().encode(Capture([frame()]))


def unpacked(data: bytes) -> tuple[np.ndarray, list[str]]:
    payload, notes = open_payload(data)
    return load_tables().codec.symbols(payload.layers), notes


def packed(symbols: np.ndarray, budget_bytes: int | None = None) -> bytes:
    return container.pack(load_tables().codec.payload(symbols, budget_bytes))


def check_person(got: ReceiverResult) -> None:
    mesh, joints = got.mesh(), got.human.joints
    assert joints is not None and mesh.colors is not None
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert solid.is_watertight and solid.volume > 0.01
    assert 0.8 < np.ptp(mesh.vertices, axis=0).max() < 2.6
    assert np.isfinite(mesh.colors).all() and mesh.colors.min() >= 0 and mesh.colors.max() <= 1
    assert joints[CANONICAL_JOINTS.index("head"), 1] > joints[0, 1] + 0.2


def test_a_picture_becomes_a_person_by_way_of_a_few_hundred_bytes() -> None:
    got = receiver().decode(sent().data)
    check_person(got)
    assert not got.notes
    assert len(sent().data) <= 700
    assert got.human.joints is not None
    assert mpjpe(sample().joints_m, got.human.joints) < 0.25
    received = np.array([sent().report["joints_3d_m"][n] for n in CANONICAL_JOINTS])
    assert mpjpe(received, got.human.joints) < 0.06  # what the sender believes, up to quantisation
    assert np.abs(np.array(sent().report["joints_2d_px"]) - sample().joints_px).mean() < 25  # of 256
    # the picture's colours have arrived: the person is not all of one shade
    assert got.mesh().colors is not None and got.mesh().colors.std(0).min() > 0.02


def test_the_same_picture_gives_the_same_bytes_and_the_same_person() -> None:
    again = sender().encode(Capture([frame()]))
    assert again.data == sent().data
    one, two = receiver().decode(again.data).mesh(), receiver().decode(again.data).mesh()
    np.testing.assert_array_equal(one.vertices, two.vertices)
    np.testing.assert_array_equal(one.faces, two.faces)


def test_budgets_are_kept_and_still_give_a_person() -> None:
    symbols, _ = unpacked(sent().data)
    whole = len(sent().data)
    least = container.packed_bytes("aflsc", [len(container.unpack(sent().data)[0].layers[0])])
    assert least <= 200  # the smallest usable file
    sizes, known = [], []
    for budget in (whole - 1, (whole + least) // 2, least):
        data = packed(symbols, budget)
        assert len(data) <= budget
        sizes.append(len(data))
        known.append(int((unpacked(data)[0] >= 0).sum()))
    assert whole > sizes[0] > sizes[1] > sizes[2]
    assert known == sorted(known, reverse=True) and known[2] < known[0]
    check_person(receiver().decode(packed(symbols, least)))
    small = sender().encode(Capture([frame()]), budget_bytes=least).data  # rounded for the levels that it has
    assert len(small) <= least and ((unpacked(small)[0] >= 0) == (unpacked(packed(symbols, least))[0] >= 0)).all()
    check_person(receiver().decode(small))
    with pytest.raises(SomacastError, match="budget of 20 bytes is too small"):
        packed(symbols, 20)


def test_a_cut_file_gives_a_coarser_person_and_says_so() -> None:
    whole, _ = unpacked(sent().data)
    lengths = [len(layer) for layer in container.unpack(sent().data)[0].layers]
    assert len(lengths) > 1, "one layer only: nothing could be cut"
    cut = sent().data[: len(sent().data) - lengths[-1] // 2 - 3]
    symbols, notes = unpacked(cut)
    assert any("cut" in note for note in notes)
    assert (symbols >= 0).sum() < (whole >= 0).sum()
    there = symbols >= 0
    assert np.array_equal(symbols[there], whole[there])
    base_only = sent().data[: container.packed_bytes("aflsc", lengths) - sum(n + 2 for n in lengths[1:])]
    got = receiver().decode(base_only)
    check_person(got)
    assert any("cut" in note for note in got.notes)
    with pytest.raises(BitstreamError, match="cut"):
        receiver().decode(base_only[:-1])


def test_a_flipped_bit_is_found() -> None:
    data = sent().data
    held, _ = container.unpack(data)
    base_end = len(data) - sum(len(layer) + 2 for layer in held.layers[1:])
    for place in (0, 5, 14, 20, len(data) // 3, len(data) // 2, len(data) - 1):
        for bit in (0, 7):
            broken = bytearray(data)
            broken[place] ^= 1 << bit
            if place < base_end:
                with pytest.raises(BitstreamError):
                    container.unpack(bytes(broken))
            else:
                left, notes = container.unpack(bytes(broken))
                assert left.layers == held.layers[: len(left.layers)] != held.layers and "damaged" in notes[0]


def test_a_stream_for_other_weights_is_refused_by_name() -> None:
    held, _ = container.unpack(sent().data)
    foreign = container.pack(replace(held, weights_digest=b"\x01\x02\x03"))
    with pytest.raises(BitstreamError, match="010203") as caught:
        receiver().decode(foreign)
    assert held.weights_digest.hex() in str(caught.value)


def test_a_given_mask_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from somacast.capture import detector as detector

    def no_search(*_: object) -> None:
        raise AssertionError("the detector looked although the mask says where the person is")

    monkeypatch.setattr(detector, "find_people", no_search)
    result = sender().encode(Capture([frame()]))
    x0, y0, x1, y1 = result.report["person_box_px"]
    rows, columns = np.nonzero(sample().silhouette > 127)
    assert x0 <= columns.min() and x1 >= columns.max() and y0 <= rows.min() and y1 >= rows.max()
    seen = result.maps["silhouette"]
    x = x0 + (np.arange(seen.shape[1]) + 0.5) / seen.shape[1] * (x1 - x0)
    y = y0 + (np.arange(seen.shape[0]) + 0.5) / seen.shape[0] * (y1 - y0)
    inside = lambda a: (a >= 0) & (a < 256)  # noqa: E731
    given = np.zeros(seen.shape, bool)
    known = inside(y)[:, None] & inside(x)[None]
    at = np.ix_(y[inside(y)].astype(int), x[inside(x)].astype(int))
    given[known] = (sample().silhouette[at] > 127).ravel()
    assert ((seen > 0.5) == given).mean() > 0.98
    # a hole that no network would see in the picture stays a hole
    holed = frame()
    assert holed.mask is not None
    column, row = (int(v) for v in sample().joints_px[CANONICAL_JOINTS.index("chest")])
    holed.mask[row - 12 : row + 12, column - 12 : column + 12] = 0
    seen = sender().encode(Capture([holed])).maps["silhouette"]
    rows, columns = (np.flatnonzero(np.abs(axis - centre) < 8) for axis, centre in ((y, row), (x, column)))
    assert len(rows) and len(columns) and seen[np.ix_(rows, columns)].max() < 0.5


def test_a_picture_without_mask_finds_its_person() -> None:
    result = sender().encode(Capture([frame(with_mask=False)]))
    x0, y0, x1, y1 = result.report["person_box_px"]
    centre = sample().joints_px.mean(0)
    assert x0 < centre[0] < x1 and y0 < centre[1] < y1
    check_person(receiver().decode(result.data))


def test_a_file_of_the_weights_before_the_networks_shipped_once_still_opens() -> None:
    """Made with the commit before: its three bytes name the tables, which are the same."""
    data = (Path(__file__).parent / "golden" / "one_file_of_weights.soma").read_bytes()
    held, _ = container.unpack(data)
    assert held.weights_digest.hex() == "03c8db" == load_tables().codec.digest.hex()
    symbols, notes = unpacked(data)
    assert not notes and container.unpack(packed(symbols))[0] == held
    check_person(receiver().decode(data))


def test_torch_reads_the_networks_that_onnx_runtime_runs() -> None:
    """Every tensor of the torch networks is in the ONNX files, statistics of batch norms with all of their bits."""
    network, coder = load_sender()
    states = load_states(None)
    assert states["extract"].keys() == network.state_dict().keys()
    lacking = coder.state_dict().keys() - states["semantic"].keys()
    assert lacking and all(name.startswith(("from_both.", "features.")) for name in lacking)
    stored = network_arrays(None)
    assert {array.dtype.name for array in stored.values()} <= {"int8", "float16", "float32", "int64"}
    assert stored["extract.pose_head.hidden.0.weight"].dtype == np.int8
    beside = load_states(FOLDER / FILE, ("extract",))["extract"]  # the same by the path of the tables
    assert all(bool((beside[name] == states["extract"][name]).all()) for name in beside)


def test_onnx_twins_agree_with_torch() -> None:
    """The default path through ONNX Runtime gives what the torch networks give."""
    import numpy as np

    from somacast.capture.landmarks import INPUT_PX, find_landmarks
    from somacast.synthetic.samples import SceneConfig, SyntheticPeople
    from somacast.systems.aflsc.networks.loading import CODED
    from somacast.systems.aflsc.sender.encoder import Encoder
    from somacast.weights.manifest import weights_path

    path = weights_path("aflsc")
    fast, slow = Encoder(), Encoder(weights=path)
    assert fast.fast is not None and slow.fast is None and fast.crop_px == slow.crop_px
    scene = SceneConfig(size_px=fast.crop_px, views_per_person=1)
    sample = next(SyntheticPeople("test", 3, None, scene).samples(0))
    image = sample.image.astype(np.float32) / 255
    edge = (INPUT_PX, INPUT_PX)
    large = np.asarray(Image.fromarray(sample.image).resize(edge, Image.Resampling.BICUBIC), np.float32) / 255
    landmarks = find_landmarks(np.stack([large, large[:, ::-1]]))[0]
    (out, coded), (out_twin, coded_twin) = fast.networks(image, landmarks), slow.networks(image, landmarks)
    assert np.abs(out["joints"] - out_twin["joints"]).max() < 2e-3  # crop sides
    assert max(np.abs(coded[k] - coded_twin[k]).max() for k in CODED) < 0.05


def test_the_chart_is_linear_in_the_labels_and_asks_no_network() -> None:
    from somacast.systems.aflsc.config import VARIANTS
    from somacast.systems.aflsc.receiver.decoder import Decoder

    symbols, _ = unpacked(sent().data)
    decoder = Decoder("cuda:9", config=VARIANTS["sampled"].decoder)  # a device that nothing is opened on
    state, color, offset = decoder.restore(symbols)
    basis, space = decoder.space.appearance, decoder.space
    assert state.present.all() == (symbols[:, 0] >= 0).all()
    for got, expected in zip((color, offset), basis.chart_maps(state.codes), strict=True):
        np.testing.assert_array_equal(got, expected)
    # codes that are known better take the place of those that were sent, or were not
    part = space.parts["codes"]
    codes = np.zeros(len(basis.std), np.float32)
    codes[part.numbers] = 1.5 * basis.std[part.numbers]
    nothing = np.full_like(symbols, -1)
    state, color, _ = decoder.restore(nothing, codes)
    np.testing.assert_array_equal(state.codes, codes)
    np.testing.assert_array_equal(color, basis.chart_maps(codes)[0])
    assert set(np.flatnonzero(state.present)) == set(part.labels)


def test_the_networks_that_are_begun_ahead_are_those_in_use():
    """Another name would cost time and memory for nothing, and nobody would see it."""
    from somacast.capture import detector, landmarks
    from somacast.systems.aflsc import spec
    from somacast.systems.aflsc.networks.loading import FAST_SENDER

    assert spec._SENDER_NETWORKS == (FAST_SENDER, detector.WEIGHTS, landmarks.WEIGHTS)
