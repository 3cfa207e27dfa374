"""The best file of a picture codec for a budget or a quality, and the four bytes that say where the picture lay."""

from __future__ import annotations

import numpy as np
import pytest

from somacast.capture.cropping import SquareBox
from somacast.errors import BitstreamError
from somacast.systems.baselines.picture import codecs as picture_codecs
from somacast.systems.baselines.picture.codecs import PICTURE_CODECS, decode_picture, encode_picture
from somacast.systems.baselines.picture.place import PLACE_BYTES, CropPlace
from somacast.systems.baselines.picture.search import PictureSearch, enlarged
from somacast.types import Camera, Frame
from support.picture_cases import person_crop


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


def test_a_known_setting_gives_the_same_file():
    crop = person_crop()
    best = PictureSearch("jpeg", crop).best(200)[0]
    received = picture_codecs.setting_of(best.data)
    again = PictureSearch("jpeg", crop)
    found = again.again(received)
    assert found is not None and found.data == best.data and again.trials == 1
    assert PictureSearch("jpeg", person_crop((64,))).again("32 px, 4:4:4, step 3") is None
    assert again.again("28000 triangles, 11 bits, colours") is None
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


@pytest.mark.parametrize("psnr_db", [22.0, 25.0])
def test_the_lowest_quality_that_is_good_is_found_in_few_trials(psnr_db):
    crop = person_crop((32, 64))
    search = PictureSearch("webp", crop)
    found = search.good(psnr_db)
    every = [encode_picture("webp", crop.by_side[64], "420", step) for step in range(PICTURE_CODECS["webp"].steps)]
    reached = [crop.psnr_db(enlarged(decode_picture("webp", data))) >= psnr_db for data in every]
    step = found.data[1]
    assert found.psnr_db >= psnr_db and reached[step] and not reached[step - 1]
    assert search.trials < 20


def test_without_a_good_quality_the_best_is_taken():
    found = PictureSearch("jpeg", person_crop((32,))).good(99.0)
    assert found.data[1] == PICTURE_CODECS["jpeg"].steps - 1 and found.psnr_db < 99


def test_a_search_knows_its_person():
    assert person_crop().shows_the_same(person_crop())
    assert not person_crop().shows_the_same(person_crop(flat=True))
    assert not person_crop((32,)).shows_the_same(person_crop((32, 48)))


CAMERA = Camera(np.eye(3), np.zeros(3), 300.0, 300.0, 85.0, 95.0, 160, 200)


@pytest.mark.parametrize("camera", [CAMERA, None])
def test_the_place_of_a_crop_comes_back_from_four_bytes(camera):
    box = SquareBox(70.0, 110.0, 90.0)
    place = CropPlace.of(box, Frame(np.zeros((200, 160, 3), np.float32), camera=camera))
    assert place.focal == pytest.approx((300 if camera else 1.2 * 200) / 90)
    data = place.pack()
    back = CropPlace.unpack(data)
    assert len(data) == PLACE_BYTES and back.pack() == data
    assert back.focal == pytest.approx(place.focal, rel=0.003)
    assert (back.across, back.down) == pytest.approx((place.across, place.down), abs=0.0007)
    with pytest.raises(BitstreamError, match="expected 4 bytes, got 2"):
        CropPlace.unpack(data[:2])


def test_a_pelvis_seen_in_the_crop_stands_where_the_whole_camera_sees_it():
    box, point = SquareBox(70.0, 110.0, 90.0), np.array([-0.18, 0.22, 4.0])
    place = CropPlace.of(box, Frame(np.zeros((200, 160, 3), np.float32), camera=CAMERA))
    frame = place.frame(np.zeros((256, 256, 3), np.uint8))
    assert frame.camera is not None
    in_crop = box.to_crop(CAMERA.project(point[None])[0, :2], 256)
    seen = np.append((in_crop - 128) / frame.camera.fx * point[2], point[2])
    assert place.from_the_whole(seen) == pytest.approx(point, abs=1e-6)


def test_a_place_beyond_what_can_be_said_is_the_nearest_there_is():
    back = CropPlace.unpack(CropPlace(1e6, 9.0, -9.0).pack())
    assert back.focal > 60 and back.across == pytest.approx(1.279, abs=1e-3) and back.down == -1.28
