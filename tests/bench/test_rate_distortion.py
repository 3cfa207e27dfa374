"""Quality against bytes: rivals' files are real, sizes are honest, and the curves are compared as they should be."""

from __future__ import annotations

import importlib.util
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from somacast import extras
from somacast.bench.rate_distortion import curves as rd_curves
from somacast.bench.rate_distortion import measure as rd
from somacast.bench.rate_distortion.person import PersonBench, PersonConfig, crop_frame, known_pictures, silhouette_of
from somacast.bench.rate_distortion.systems import OURS, VARIANTS, check_systems
from somacast.bench.report import stills as report
from somacast.cli import main as cli
from somacast.errors import SomacastError
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.protocol import ProtocolConfig
from somacast.synthetic.datasets.loaders import EvalItem
from somacast.systems.baselines.draco.meshes import MeshSearch, clustered, decode_mesh, encode_mesh
from somacast.systems.baselines.picture import codecs as picture_codecs
from somacast.systems.baselines.picture import headers as picture_headers
from somacast.systems.baselines.picture.codecs import PICTURE_CODECS, decode_picture, encode_picture
from somacast.systems.baselines.picture.search import PersonCrop, PictureSearch
from somacast.types import Camera, Frame, Mesh
from somacast.weights.manifest import list_weights

needs_ffmpeg = pytest.mark.skipif(
    importlib.util.find_spec("imageio_ffmpeg") is None,
    reason="VIDEO CODECS ARE NOT TESTED: imageio-ffmpeg is missing, pip install 'somacast[bench]'",
)
needs_draco = pytest.mark.skipif(
    importlib.util.find_spec("DracoPy") is None, reason="DRACO IS NOT TESTED: pip install 'somacast[bench]'"
)
needs_weights = pytest.mark.skipif(
    "aflsc.safetensors" not in {entry["file"] for entry in list_weights()}, reason="no trained weights in the package"
)
WITHOUT_FFMPEG = ("jpeg", "webp")
CASES = [
    pytest.param(name, chroma, marks=() if name in WITHOUT_FFMPEG else needs_ffmpeg, id=f"{name} {chroma}")
    for name, codec in PICTURE_CODECS.items()
    for chroma in codec.chromas
]


def picture(side: int = 48) -> np.ndarray:
    """A person of sorts: smooth ground, a striped body, a round head."""
    y, x = (np.mgrid[0:side, 0:side] + 0.5) / side
    image = np.stack([0.4 + 0.3 * x, 0.5 + 0.2 * y, 0.6 - 0.3 * x], -1)
    image[(abs(x - 0.5) < 0.12) & (y > 0.3) & (y < 0.9)] = [0.7, 0.2, 0.2]
    image[(abs(x - 0.5) < 0.12) & (y > 0.6) & (y < 0.9)] = [0.1, 0.2, 0.6]
    image[np.hypot(x - 0.5, y - 0.2) < 0.09] = [0.9, 0.7, 0.6]
    return (255 * image).astype(np.uint8)


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * math.log10(255**2 / max(float(np.mean((a.astype(float) - b) ** 2)), 1e-9))


# -- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "chroma"), CASES)
def test_a_file_without_headers_comes_back_as_the_picture(name, chroma, tmp_path):
    codec, pixels = PICTURE_CODECS[name], picture()
    files = [encode_picture(name, pixels, chroma, codec.steps * k // 10) for k in (2, 8)]
    path = tmp_path / "file"
    path.write_bytes(files[1])
    picture_codecs.known_headers.cache_clear()  # as a receiver that has coded nothing
    back = decode_picture(name, path.read_bytes())
    assert back.shape == pixels.shape and back.dtype == np.uint8
    assert psnr_db(back, pixels) > (29 if chroma == "444" else 24)
    assert len(files[0]) < len(files[1])
    assert psnr_db(decode_picture(name, files[0]), pixels) < psnr_db(back, pixels)
    assert not files[1][0] & picture_codecs._WHOLE  # headers follow from the settings, for every codec


@pytest.mark.parametrize(("name", "chroma"), CASES)
def test_what_is_cut_off_is_all_that_is_missing(name, chroma):
    """Bytes are honest: headers and payload together make a stream that the codec itself decodes to the same."""
    codec, pixels, step = PICTURE_CODECS[name], picture(), PICTURE_CODECS[name].steps // 2
    streams = codec.code(pixels, chroma, step)
    file = encode_picture(name, pixels, chroma, step)
    parts = [codec.split(stream) for stream in streams]
    assert len(file) == picture_codecs.SETTING_BYTES + min(len(payload) for _, payload in parts)
    for (headers, payload), stream in zip(parts, streams, strict=True):
        assert len(payload) < len(stream)
        again = codec.decode(codec.join(headers, payload), len(pixels), chroma)
        if name in (*WITHOUT_FFMPEG, "avif"):
            whole = np.asarray(Image.open(io.BytesIO(stream)).convert("RGB"))
        else:
            whole = codec.decode(stream, len(pixels), chroma)
        # libavif brings chroma up in its own way: equal but for rounding there
        assert psnr_db(again, whole) > (35 if name == "avif" else 90)


def test_a_jpeg_carries_the_tables_that_are_its_own():
    pixels = np.random.default_rng(0).integers(0, 255, (256, 256, 3)).astype(np.uint8)
    standard, own = PICTURE_CODECS["jpeg"].code(pixels, "420", 60)
    assert picture_codecs._jpeg_split(standard)[1][:2] != b"\xff\xc4"
    payload = picture_codecs._jpeg_split(own)[1]
    assert payload[:2] == b"\xff\xc4"
    file = encode_picture("jpeg", pixels, "420", 60)
    assert np.array_equal(decode_picture("jpeg", file), np.asarray(Image.open(io.BytesIO(own)).convert("RGB")))


def test_headers_that_depend_on_the_picture_are_sent(monkeypatch):
    monkeypatch.setattr(picture_codecs, "known_headers", lambda *_: b"something else")
    file = encode_picture("webp", picture(), "420", 50)
    assert file[0] & picture_codecs._WHOLE
    assert psnr_db(decode_picture("webp", file), picture()) > 20


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encode_picture("gif", picture(), "420", 1), "picture codec 'gif'"),
        (lambda: encode_picture("webp", picture(), "444", 1), "chroma"),
        (lambda: encode_picture("webp", picture(), "420", 101), "step 0 .. 100"),
        (lambda: encode_picture("webp", picture(40), "420", 1), "side"),
        (lambda: decode_picture("webp", b"\0\0"), "got 2 bytes"),
        (lambda: decode_picture("webp", b"\xff\0abc"), "expected a picture of this codec"),
        (lambda: picture_headers.split_jpeg(b"GIF89a", False), "JPEG"),
        (lambda: picture_headers.split_webp(b"RIFF\0\0\0\0WEBP"), "WebP"),
        (lambda: picture_headers.split_avif(b"\0\0\0\x08free"), "AVIF"),
        (lambda: picture_headers.split_av1(b"\x12\x00"), "one AV1 sequence header"),
        (lambda: picture_headers.split_hevc(b"\0\0\1\x40\1"), "parameter sets"),
    ],
)
def test_wrong_pictures_are_refused(call, message):
    with pytest.raises(SomacastError, match=message):
        call()


@pytest.mark.parametrize("bits", [8, 10])
def test_planes_come_back(bits):
    pixels = picture(32)
    assert (
        psnr_db(picture_codecs.from_planes(picture_codecs.to_planes(pixels, "444", bits), 32, "444", bits), pixels) > 45
    )
    flat = np.full((32, 32, 3), (200, 60, 90), np.uint8)
    back = picture_codecs.from_planes(picture_codecs.to_planes(flat, "420", bits), 32, "420", bits)
    assert np.abs(back.astype(int) - flat).max() <= 2
    with pytest.raises(SomacastError, match="planes of a picture"):
        picture_codecs.from_planes(b"\0" * 10, 32, "420", bits)


# -- the search -------------------------------------------------------------------------------------------------------


def person_crop(sides: tuple[int, ...] = (32, 48, 64), flat: bool = False) -> PersonCrop:
    image = np.full((200, 160, 3), 0.5, np.float32)
    image[:, ::7] = 0.2
    image[60:156, 32:128] = picture(96) / 255
    mask = np.zeros((200, 160), np.float32)
    mask[70:148, 66:94] = 1
    return PersonCrop.of(image, mask, sides, flat)


def test_the_search_finds_what_trying_everything_finds():
    crop = person_crop()
    for budget in (90, 150, 300):
        search = PictureSearch("jpeg", crop)
        found = search.best(budget)
        assert found and all(len(c.data) <= budget for c in found)
        assert [c.psnr_db for c in found] == sorted((c.psnr_db for c in found), reverse=True)
        for candidate in found:
            side, chroma = len(decode_picture("jpeg", candidate.data)), "444" if candidate.data[0] & 8 else "420"
            sizes = [len(encode_picture("jpeg", crop.by_side[side], chroma, step)) for step in range(95)]
            largest = max(size for size in sizes if size <= budget)
            assert len(candidate.data) >= 0.93 * largest
        assert search.trials < 6 * 12  # of 6 * 95


def test_a_known_setting_gives_the_same_file_and_another_picture_none():
    crop = person_crop()
    best = PictureSearch("jpeg", crop).best(200)[0]
    received = picture_codecs.setting_of(best.data)
    again = PictureSearch("jpeg", crop)
    found = again.again(received, len(best.data))
    assert found is not None and found.data == best.data and again.trials == 1
    assert again.again(received, len(best.data) + 1) is None
    assert PictureSearch("jpeg", person_crop((64,))).again("32 px, 4:4:4, step 3", 50) is None
    for text in ("32 px", "32 px, 4:2:2, step 3", ""):
        with pytest.raises(ValueError, match="expected a setting"):
            picture_codecs.parse_setting(text)


def test_nothing_fits_a_budget_that_is_too_small():
    search = PictureSearch("jpeg", person_crop((64,)))
    assert search.best(12) == []
    assert search.best(5000)[0].psnr_db > search.best(200)[0].psnr_db


def test_a_flat_background_costs_fewer_bytes_and_leaves_the_person():
    kept, flat = person_crop(), person_crop(flat=True)
    assert np.array_equal(kept.reference[kept.inside], flat.reference[flat.inside])
    assert flat.reference[~flat.inside].std() < kept.reference[~kept.inside].std()
    assert len(encode_picture("jpeg", flat.by_side[64], "420", 60)) < len(
        encode_picture("jpeg", kept.by_side[64], "420", 60)
    )


def test_the_camera_of_the_crop_sees_what_the_whole_one_saw():
    crop = person_crop()
    camera = Camera(np.eye(3), np.array([0, 0, 4.0]), 300, 300, 80, 100, 160, 200)
    frame = crop_frame(crop.reference, crop, Frame(np.zeros((200, 160, 3), np.float32), camera=camera))
    assert frame.camera is not None
    points = np.random.default_rng(1).normal(0, 0.5, (20, 3))
    expected = crop.box.to_crop(camera.project(points)[:, :2], 256)
    assert np.allclose(frame.camera.project(points)[:, :2], expected)
    guessed = crop_frame(crop.reference, crop, Frame(np.zeros((200, 160, 3), np.float32))).camera
    assert guessed is not None and guessed.fx == pytest.approx(1.2 * 200 * 256 / crop.box.side)


# -- meshes -----------------------------------------------------------------------------------------------------------


def body(height_m: float = 1.7, rings: int = 40, segments: int = 32, color: float = 0.6) -> Mesh:
    """An upright ellipsoid, coloured, its middle at the origin."""
    v, u = np.mgrid[0 : rings + 1, 0:segments]
    theta, phi = math.pi * v / rings, 2 * math.pi * u / segments
    points = np.stack([0.25 * np.sin(theta) * np.cos(phi), -height_m / 2 * np.cos(theta),
                       0.18 * np.sin(theta) * np.sin(phi)], -1)  # fmt: skip
    a = (v * segments + u)[:-1]
    b = (v * segments + (u + 1) % segments)[:-1]
    faces = np.concatenate([np.stack([a, a + segments, b], -1), np.stack([b, a + segments, b + segments], -1)])
    colors = np.stack([np.full(v.size, color), v.ravel() / rings, np.full(v.size, 0.3)], 1)
    return Mesh(
        points.reshape(-1, 3).astype(np.float32), faces.reshape(-1, 3).astype(np.int32), colors.astype(np.float32)
    )


def test_clustering_leaves_fewer_triangles_in_the_same_place():
    mesh = body()
    coarse = clustered(mesh, 0.1)
    assert 8 < len(coarse.faces) < len(mesh.faces) / 4
    assert coarse.colors is not None and len(coarse.colors) == len(coarse.vertices)
    assert set(coarse.faces.ravel()) == set(range(len(coarse.vertices)))
    assert np.abs(coarse.vertices.mean(0) - mesh.vertices.mean(0)).max() < 0.05
    assert clustered(mesh, 0) is mesh


@needs_draco
@pytest.mark.parametrize("colored", [True, False])
def test_a_draco_file_comes_back(colored):
    mesh = clustered(body(), 0.05)
    back = decode_mesh(encode_mesh(mesh, 11, colored))
    assert len(back.faces) == len(mesh.faces) and np.ptp(back.vertices[:, 1]) == pytest.approx(1.7, abs=0.05)
    assert back.colors is not None and mesh.colors is not None
    assert np.allclose(back.colors.mean(0), mesh.colors.mean(0), atol=0.06)
    assert (back.colors.std(0).max() > 0.1) == colored
    with pytest.raises(SomacastError, match="expected a Draco mesh"):
        decode_mesh(b"nonsense")


@needs_draco
def test_meshes_fit_their_budget_or_there_are_none():
    search = MeshSearch(body())
    assert search.best(search.smallest_bytes - 1) is None
    small, large = search.best(search.smallest_bytes), search.best(3000)
    assert small is not None and len(small) == search.smallest_bytes
    assert large is not None and len(small) < len(large) <= 3000


# -- curves -----------------------------------------------------------------------------------------------------------


def test_half_the_bytes_are_minus_fifty_percent():
    baseline = [(100.0 * 2**k, 0.5 + 0.05 * k) for k in range(6)]
    ours = [(size / 2, quality) for size, quality in baseline]
    found = rd_curves.compare(ours, baseline)
    assert found["bd_rate_percent"] == pytest.approx(-50) and found["note"] is None
    assert found["overlap"] == pytest.approx([0.5, 0.75])
    assert rd_curves.compare(baseline, ours)["bd_rate_percent"] == pytest.approx(100)
    # worse points that cost more change nothing
    assert rd_curves.compare([*ours, (5000.0, 0.4)], baseline)["bd_rate_percent"] == pytest.approx(-50)


def test_curves_that_do_not_overlap_are_told_and_not_judged():
    low, high = [(100.0, -0.08), (200.0, -0.06)], [(100.0, -0.05), (200.0, -0.03)]
    better = rd_curves.compare(high, low, -1)
    assert better["bd_rate_percent"] is None and better["overlap"] is None
    assert better["note"] == "no overlap: our worst (0.05) is no worse than the rival's best (0.06)"
    assert rd_curves.compare(low, high, -1)["note"].startswith("no overlap: the rival's worst (0.05)")
    assert "no point of the rival" in rd_curves.compare(high, [])["note"]
    assert "no point of ours" in rd_curves.compare([], high)["note"]
    assert "fewer than two points on our curve" in rd_curves.compare([(100.0, -0.07)], low)["note"]


def test_the_frontier_drops_what_costs_more_and_gives_less():
    points = [(200.0, 0.6), (100.0, 0.5), (100.0, 0.4), (300.0, 0.55), (400.0, 0.6), (500.0, 0.7)]
    assert rd_curves.frontier(points) == [(100.0, 0.5), (200.0, 0.6), (500.0, 0.7)]


def test_bytes_needed_are_interpolated_and_never_invented():
    points = [(100.0, 0.5), (400.0, 0.7)]
    assert rd_curves.bytes_needed(points, 0.6) == pytest.approx(200)
    assert rd_curves.bytes_needed(points, 0.3) == 100 and rd_curves.bytes_needed(points, 0.7) == pytest.approx(400)
    assert rd_curves.bytes_needed(points, 0.71) is None and rd_curves.bytes_needed([], 0.1) is None


def figures(size: float, box: float) -> dict:
    return {"bytes": size, "ssim_box": box, "ssim_whole": box + 0.3, "centred_chamfer_m": 0.1 * (1 - box),
            "psnr_db": 10 + 10 * box, "setting": "48 px"}  # fmt: skip


def test_means_say_who_is_missing_and_points_are_of_everybody():
    rows = [figures(90, 0.5), None, {"bytes": 80, "failed": "no person"}, figures(100, 0.6)]
    mean = rd_curves.mean_rows(rows)
    assert (mean["people"], mean["too_small"], mean["failed"]) == (2, 1, 1)
    assert mean["bytes"] == 95 and mean["ssim_box"] == pytest.approx(0.55) and "setting" not in mean
    assert "ssim_box" not in rd_curves.mean_rows([None, None])
    table = {"100": mean, "200": rd_curves.mean_rows([figures(190, 0.7), figures(200, 0.7)])}
    assert rd_curves.points_of(table, rd_curves.QUALITIES[0]) == [(195, pytest.approx(0.7))]


def curve_table(scale: float) -> dict:
    return {
        str(b): rd_curves.mean_rows([figures(scale * b, 0.5 + 0.05 * k)]) for k, b in enumerate((100, 200, 400, 800))
    }


def test_the_best_picture_codec_is_the_upper_envelope():
    tables = {OURS: curve_table(0.5), "jpeg": curve_table(1), "vvc": curve_table(1)}
    tables["jpeg"]["100"]["ssim_box"] = 0.54
    best = rd_curves.best_of({n: tables[n] for n in ("jpeg", "vvc")}, rd_curves.QUALITIES[0])
    assert best == [(100, 0.54), (200, pytest.approx(0.55)), (400, pytest.approx(0.6)), (800, pytest.approx(0.65))]
    found = rd_curves.compare_all(tables, OURS, ["jpeg", "vvc"])
    assert found["bd_rate"]["centred_chamfer_m"]["vvc"]["bd_rate_percent"] == pytest.approx(-50)
    assert found["bd_rate"]["centred_chamfer_m"]["vvc"]["overlap"] == pytest.approx([0.05, 0.035])
    assert set(found["bd_rate"]["ssim_box"]) == {"jpeg", "vvc", rd_curves.BEST_PICTURE}
    assert found["bytes_for_quality"]["ssim_box"][OURS]["0.6"] == pytest.approx(200)
    first = found["at_our_quality"]["ssim_box"][1]
    assert first["bytes"] == 100 and first["others_bytes"]["vvc"] == pytest.approx(200)


# -- a whole run on toy networks --------------------------------------------------------------------------------------


@dataclass
class ToySender:
    """A file of as many bytes as the budget allows, between 40 and 120."""

    calls: int = 0

    @property
    def encoder(self):
        return self

    def encode(self, frame, budget_bytes: int | None = None):
        self.calls += 1
        if isinstance(frame, list):  # the encoder's own way to be called
            detail = float(np.abs(np.diff(frame[0].image, axis=1)).mean())
            return detail, {}
        if budget_bytes is not None and budget_bytes < 40:
            raise SomacastError("budget too small")
        return type("Sent", (), {"data": b"x" * min(budget_bytes or 120, 120)})


class ToyReceiver:
    def load(self, system):
        return self

    def decode(self, received):
        error = 20 / len(received) if isinstance(received, bytes) else 0.02 / max(received, 1e-4)
        human = Reconstruction(body(1.7 + 0.3 * min(error, 1.0)), joints=np.zeros((21, 3)))
        return type("Got", (), {"human": human}) if isinstance(received, bytes) else human


class ToyHalves:
    def __init__(self, names=(), device="cpu"):
        self.sender = ToySender()
        self.receivers = dict.fromkeys(VARIANTS, ToyReceiver())


def toy_item(number: int = 0) -> EvalItem:
    image = np.full((96, 96, 3), 0.5, np.float32)
    image[8:88, 8:88] = np.asarray(Image.fromarray(picture(64)).resize((80, 80))) / 255
    mask = np.zeros((96, 96), np.float32)
    mask[14:80, 36:60] = 1
    return EvalItem(f"{number:06d}", "standing", Frame(image), body(), np.zeros((21, 3)), 0.0, mask)


def toy_config(tmp_path: Path, **changes) -> rd.RdConfig:
    standard = {"budgets_bytes": (30, 60, 400), "systems": (OURS, "jpeg", "webp"), "people": 2, "sides_px": (32, 48)}
    protocol = ProtocolConfig(size_px=64, samples=1000)
    return rd.RdConfig(tmp_path / "rd.json", protocol=protocol, **(standard | changes))


@pytest.fixture
def toys(monkeypatch):
    made = []

    def items(data, format, people, assets, seed):
        for number in range(people):
            made.append(number)
            yield toy_item(number)

    monkeypatch.setattr(rd, "Halves", ToyHalves)
    monkeypatch.setattr(rd, "load_items", items)
    return made


def test_a_run_writes_honest_rows_curves_and_pictures(toys, tmp_path, capsys):
    result = rd.measure_rd(toy_config(tmp_path))
    assert json.loads((tmp_path / "rd.json").read_text()) == result
    for name in ("rd.png", "rd_pictures.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    found = result["results"]["systems"]
    assert found[OURS]["30"] == {"people": 0, "too_small": 2, "failed": 0}  # nothing is invented
    assert (found[OURS]["60"]["bytes"], found[OURS]["400"]["bytes"]) == (60, 120)
    assert found["jpeg"]["400"]["bytes"] <= 400 and found["jpeg"]["400"]["people"] == 2
    assert (
        found["jpeg"]["400"]["picture_psnr_db"] > 20
        and "48 px" in result["people"][0]["rows"]["jpeg"]["400"]["setting"]
    )
    for row in (found[OURS]["60"], found["webp"]["400"]):
        assert {"ssim_whole", "ssim_box", "psnr_db", "mse", "centred_chamfer_m", "mpjpe_m"} <= set(row)
        assert "centred_normal_consistency" in row
    assert result["config"]["protocol"]["samples"] == 1000 and result["weights_sha256"] and "commit" in result
    assert set(result["results"]["bd_rate"]["ssim_box"]) == {"jpeg", "webp", rd_curves.BEST_PICTURE}
    shown = capsys.readouterr()
    assert "BD-rate of AFLSC against JPEG" in shown.out and "person x system" in shown.err


def test_a_stopped_run_goes_on_and_other_settings_start_anew(toys, tmp_path, monkeypatch):
    config = toy_config(tmp_path, cache=tmp_path / "cache", systems=(OURS,))
    done = rd.measure_person

    def stop_at_second(number, *rest):
        if number == 1:
            raise KeyboardInterrupt
        done(number, *rest)

    monkeypatch.setattr(rd, "measure_person", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        rd.measure_rd(config)
    assert not config.json_path.exists()
    folder = tmp_path / "cache" / rd.cache_key(config)
    assert sorted(p.name for p in folder.iterdir()) == ["000000.json", "sheet.png"]
    measured = []
    monkeypatch.setattr(rd, "measure_person", lambda number, *rest: (measured.append(number), done(number, *rest)))
    first = rd.measure_rd(config)
    assert measured == [1]
    assert rd.measure_rd(config)["results"] == first["results"] and measured == [1]
    (folder / "000001.json").write_text("{ half")
    rd.measure_rd(config)
    assert measured == [1, 1]
    keys = {
        rd.cache_key(toy_config(tmp_path, **c)) for c in ({}, {"seed": 1}, {"flat": True}, {"budgets_bytes": (60,)})
    }
    assert len(keys) == 4
    assert rd.cache_key(toy_config(tmp_path, people=7, workers=2)) == rd.cache_key(toy_config(tmp_path))
    monkeypatch.setattr(rd, "weights_digests", lambda: {"aflsc.safetensors": "other"})
    assert rd.cache_key(config) not in keys


def test_who_cannot_be_sent_counts_for_nobody_and_who_is_not_rebuilt_is_counted(tmp_path, monkeypatch):
    config = PersonConfig((60, 100), (OURS, "jpeg"), (32,), False, ProtocolConfig(size_px=64, samples=500))
    halves = ToyHalves()

    def blind(frame, budget_bytes=None):
        raise SomacastError("no person")

    monkeypatch.setattr(halves.sender, "encode", blind)
    found = PersonBench(toy_item(), halves, config, tmp_path).run()
    assert found.fault == "no person" and not found.rows

    halves = ToyHalves()
    plain = halves.sender.encode
    monkeypatch.setattr(halves.sender, "encode", lambda f, b=None: blind(f) if isinstance(f, list) else plain(f, b))
    found = PersonBench(toy_item(), halves, config, tmp_path).run()
    assert found.fault is None and found.rows[OURS]["60"]["bytes"] == 60
    assert found.rows["jpeg"]["100"]["failed"] == "no person"
    assert rd_curves.mean_rows([found.rows["jpeg"]["100"]])["failed"] == 1


def test_a_silhouette_is_needed_or_follows_from_the_camera():
    item = toy_item()
    item.silhouette = None
    with pytest.raises(SomacastError, match="silhouette or camera"):
        silhouette_of(item)
    item.frame.camera = Camera(np.diag([1.0, -1, -1]), np.array([0, 0, 4.0]), 150, 150, 48, 48, 96, 96)
    assert 0.05 < silhouette_of(item).mean() < 0.5


def test_known_pictures_leave_the_search_out_and_change_nothing(toys, tmp_path, monkeypatch):
    config = toy_config(tmp_path)
    first = rd.measure_rd(config)
    kept = tmp_path / "earlier.json"
    kept.write_text(config.json_path.read_text())
    searched, plain = [], PictureSearch.best
    monkeypatch.setattr(PictureSearch, "best", lambda self, budget: (searched.append(budget), plain(self, budget))[1])
    second = rd.measure_rd(toy_config(tmp_path, known=kept))
    assert second["results"]["systems"] == first["results"]["systems"]
    found = [r for p in first["people"] for c in ("jpeg", "webp") for r in p["rows"][c].values()]
    assert len(searched) == sum(r is None or "failed" in r or r["attempt"] > 0 for r in found) < len(found)
    # rows that do not say at which attempt somebody was seen: only larger pictures are taken over
    rows = first["people"][0]["rows"]
    without = lambda r: r and {k: v for k, v in r.items() if k != "attempt"}  # noqa: E731
    old = {"rows": {name: {b: without(r) for b, r in by_budget.items()} for name, by_budget in rows.items()}}
    assert {b for known in known_pictures(old).values() for b in known} == {400}
    failed = {"rows": {"jpeg": {"400": rows["jpeg"]["400"] | {"failed": "nobody"}}}}
    assert known_pictures(failed) == {}


OTHER_DATA = {"data": "x", "format": "synthetic", "seed": 0, "assets": None, "sides_px": [32, 48], "flat": False}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected the JSON of an earlier run"),
        ("{}", "expected the JSON of an earlier run"),
        (json.dumps({"people": [], "config": OTHER_DATA}), "same settings, got data x"),
    ],
)  # fmt: skip
def test_an_earlier_run_of_other_people_is_refused(toys, tmp_path, content, message):
    (tmp_path / "earlier.json").write_text(content)
    with pytest.raises(SomacastError, match=message):
        rd.measure_rd(toy_config(tmp_path, known=tmp_path / "earlier.json"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"systems": ("nobody",)}, "system 'nobody'"),
        ({"systems": (OURS, OURS)}, "each once"),
        ({"budgets_bytes": (100, 0)}, "budgets"),
        ({"budgets_bytes": (100, 100)}, "budgets"),
        ({"sides_px": (50,)}, "sides"),
        ({"people": 0}, "--people 0"),
        ({"json_path": Path("no_such_folder/rd.json")}, "no_such_folder"),
    ],
)
def test_wrong_settings_are_told_before_any_work(changes, message, tmp_path):
    with pytest.raises(SomacastError, match=message):
        rd.measure_rd(rd.RdConfig(**({"json_path": tmp_path / "rd.json", "systems": (OURS,)} | changes)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("package", "system"), [("imageio_ffmpeg", "vvc"), ("DracoPy", "draco"), ("matplotlib", OURS)])
def test_a_missing_package_is_one_line_with_the_remedy(package, system, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == package else object())
    assert cli.main(["bench", "rd", "--json", str(tmp_path / "rd.json"), "--systems", system]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert package in line and "pip install 'somacast[bench]'" in line


def test_the_systems_that_are_offered_exist():
    assert VARIANTS[OURS].decoder == {}
    check_systems([OURS, "jpeg", "webp"])


# -- README -----------------------------------------------------------------------------------------------------------


def test_the_readme_shows_the_curves_if_they_were_measured(toys, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "README.md").write_text(f"# A\n\n{report.BEGIN}\nold\n{report.END}\n")
    rd.measure_rd(toy_config(tmp_path / "results", budgets_bytes=(60, 100, 400)))
    report.write(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "### Against other ways to send the person" in text and "![Quality against bytes](results/rd.png)" in text
    assert "results/rd_pictures.png" in text and "| BD-rate of AFLSC against | SSIM box |" in text
    assert "somacast bench rd --budgets-bytes 60 100 400 --systems aflsc jpeg webp --sides-px 32 48" in text
    assert "--people 2 --samples 1000" in text
    assert report.check(tmp_path) == []
    path = tmp_path / "results" / report.RD
    result = json.loads(path.read_text())
    result["results"]["systems"]["jpeg"]["100"]["ssim_box"] = 0.123
    path.write_text(json.dumps(result))
    assert any("does not say what the results say" in fault for fault in report.check(tmp_path))
    path.write_text("{}")
    with pytest.raises(SomacastError, match=r"rd\.json: cannot be read"):
        report.check(tmp_path)


# -- command line, and the real thing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "x.txt"], ".json"),
        (["--json", "x.json", "--people", "0"], "--people 0"),
        (["--json", "x.json", "--systems", "nobody"], "system 'nobody'"),
        (["--json", "x.json", "--budgets-bytes", "0"], "budgets"),
        (["--json", "x.json", "--data", "no_such_folder"], "no_such_folder"),
    ],
)
def test_mistakes_are_one_line(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "rd", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@needs_weights
@needs_ffmpeg
def test_one_made_person_through_the_real_networks(tmp_path):
    config = rd.RdConfig(tmp_path / "rd.json", (120, 900), (OURS, "jpeg", "x265"), 1, sides_px=(48, 96),
                         protocol=ProtocolConfig(size_px=128, samples=2000))  # fmt: skip
    result = rd.measure_rd(config)
    found = result["results"]
    assert found["failed"] == 0
    for table in found["systems"].values():
        for budget, row in table.items():
            assert row["people"] == 1 and 0 < row["bytes"] <= int(budget)
            assert 0.2 < row["ssim_box"] < 1 and 0 < row["centred_chamfer_m"] < 0.4
