"""Pictures of every kind are read, bad ones end in one clear line, crops go both ways."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from somacast.capture import cropping
from somacast.capture import pictures as images
from somacast.capture.cropping import SquareBox, box_of_mask, rectangle_crop, square_crop
from somacast.capture.pictures import frame_from_array, read_image
from somacast.errors import SomacastError


def gradient(width: int = 96, height: int = 72) -> np.ndarray:
    """A picture that looks different after any turn: uint8 [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x / (width - 1), 255 * y / (height - 1)
    return np.stack([red, green, np.full_like(red, 90)], -1).astype(np.uint8)


def save(path: Path, array: np.ndarray, mode: str | None = None, **options) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def failure(path: Path, mask: Path | None = None) -> str:
    with pytest.raises(SomacastError) as caught:
        read_image(path, mask)
    message = str(caught.value)
    assert "\n" not in message
    assert str(mask or path) in message
    return message


def test_plain_picture_is_read_exactly(tmp_path):
    frame = read_image(save(tmp_path / "p.png", gradient()))
    assert frame.image.dtype == np.float32 and frame.image.shape == (72, 96, 3)
    np.testing.assert_allclose(frame.image * 255, gradient(), atol=1e-3)
    assert frame.mask is None and frame.notes == []
    assert frame.source_size_px == (96, 72) and frame.source_scale == (1, 1)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "avif", "tif", "bmp", "ppm", "jp2", "tga"])
def test_other_formats_give_about_the_same(tmp_path, suffix):
    frame = read_image(save(tmp_path / f"p.{suffix}", gradient()))
    assert np.abs(frame.image * 255 - gradient()).mean() < 6


@pytest.mark.parametrize("mode", ["L", "1", "LA", "I;16"])
def test_grey_pictures_become_three_equal_channels(tmp_path, mode):
    grey = gradient()[..., 0]
    path = tmp_path / "g.png"
    if mode == "I;16":
        Image.fromarray(grey.astype(np.uint16) * 257).save(path)
        assert Image.open(path).mode.startswith("I")
    else:
        save(path, grey, mode)
    frame = read_image(path)
    assert frame.image.shape == (72, 96, 3)
    assert np.ptp(frame.image, axis=2).max() == 0
    if mode != "1":
        np.testing.assert_allclose(frame.image[..., 0] * 255, grey, atol=1.01)


def test_float_tiff_and_32_bit_integers(tmp_path):
    grey = gradient()[..., 0]
    for name, array in {"f1": grey.astype(np.float32) / 255, "f255": grey.astype(np.float32),
                        "i16": grey.astype(np.int32) * 257}.items():  # fmt: skip
        frame = read_image(save(tmp_path / f"{name}.tif", array))
        np.testing.assert_allclose(frame.image[..., 1] * 255, grey, atol=1.01)
    broken = grey.astype(np.float32)
    broken[3, 4] = np.nan
    assert "finite" in failure(save(tmp_path / "nan.tif", broken))


def test_cmyk_and_palette(tmp_path):
    frame = read_image(save(tmp_path / "c.jpg", gradient(), "CMYK", quality=95))
    assert np.abs(frame.image * 255 - gradient()).mean() < 10
    frame = read_image(save(tmp_path / "p.png", gradient(), "P"))
    assert np.abs(frame.image * 255 - gradient()).mean() < 30


def test_colour_profile_is_followed_and_a_broken_one_passed_over(tmp_path):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()  # no profile for RGB pixels
    frame = read_image(save(tmp_path / "l.png", gradient(), icc_profile=lab))
    np.testing.assert_allclose(frame.image * 255, gradient(), atol=1e-3)
    frame = read_image(save(tmp_path / "b.png", gradient(), icc_profile=b"nonsense"))
    np.testing.assert_allclose(frame.image * 255, gradient(), atol=1e-3)
    srgb = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    swapped = bytes(srgb).replace(b"rXYZ", b"tXYZ").replace(b"gXYZ", b"rXYZ").replace(b"tXYZ", b"gXYZ")
    swapped = swapped.replace(b"s\0R\0G\0B", b"o\0d\0d\0d").replace(b"sRGB", b"oddd")
    frame = read_image(save(tmp_path / "s.png", gradient(), icc_profile=swapped))
    assert np.abs(frame.image * 255 - gradient()).mean() > 10  # red and green primaries are exchanged


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_exif_orientation_ends_upright(tmp_path, orientation, suffix):
    upright = Image.fromarray(gradient())
    rotations = Image.Transpose
    stored = {
        1: upright, 2: upright.transpose(rotations.FLIP_LEFT_RIGHT), 3: upright.transpose(rotations.ROTATE_180),
        4: upright.transpose(rotations.FLIP_TOP_BOTTOM), 5: upright.transpose(rotations.TRANSPOSE),
        6: upright.transpose(rotations.ROTATE_90), 7: upright.transpose(rotations.TRANSVERSE),
        8: upright.transpose(rotations.ROTATE_270),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"p.{suffix}"
    stored.save(path, exif=exif)
    frame = read_image(path)
    assert frame.source_size_px == (96, 72)
    assert np.abs(frame.image * 255 - gradient()).mean() < 4
    if suffix != "tif":  # Pillow turns TIFF itself and no longer tells
        assert any("EXIF" in note for note in frame.notes) == (orientation > 1)


def test_transparency_becomes_the_mask_over_mid_grey(tmp_path):
    alpha = np.zeros((72, 96), np.uint8)
    alpha[20:60, 30:70] = 255
    alpha[19, 30:70] = 128
    frame = read_image(save(tmp_path / "a.png", np.dstack([gradient(), alpha])))
    assert frame.mask is not None
    np.testing.assert_allclose(frame.mask, alpha / 255, atol=1e-6)
    np.testing.assert_allclose(frame.image[0, 0], images.TRANSPARENT_GREY, atol=1e-6)
    np.testing.assert_allclose(frame.image[30, 40] * 255, gradient()[30, 40], atol=1e-3)
    assert any("transparency" in note for note in frame.notes)
    opaque = save(tmp_path / "o.png", np.dstack([gradient(), np.full_like(alpha, 255)]))
    assert read_image(opaque).mask is None
    assert "transparent" in failure(save(tmp_path / "n.png", np.dstack([gradient(), alpha * 0])))


def test_palette_transparency(tmp_path):
    image = Image.fromarray(np.kron(np.eye(2, dtype=np.uint8), np.ones((50, 50), np.uint8)), mode="P")
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.save(tmp_path / "p.png", transparency=0)
    frame = read_image(tmp_path / "p.png")
    assert frame.mask is not None and frame.mask.mean() == 0.5


def test_mask_file(tmp_path):
    picture = save(tmp_path / "p.png", gradient())
    marked = np.zeros((72, 96), np.uint8)
    marked[10:40, 20:50] = 1  # label maps use 1 as often as 255
    for scale in (1, 255):
        frame = read_image(picture, save(tmp_path / f"m{scale}.png", marked * scale))
        assert frame.mask is not None
        np.testing.assert_array_equal(frame.mask, marked)
    small = save(tmp_path / "small.png", marked[:70])
    assert "96 x 70" in failure(picture, small) and "96 x 72" in failure(picture, small)
    assert "empty" in failure(picture, save(tmp_path / "e.png", marked * 0))
    assert "no such file" in failure(picture, tmp_path / "none.png")


def test_mask_of_a_turned_picture_has_the_upright_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = save(tmp_path / "p.jpg", np.rot90(gradient()).copy(), exif=exif)
    marked = np.full((72, 96), 255, np.uint8)
    assert read_image(picture, save(tmp_path / "m.png", marked)).mask is not None
    assert "96 x 72" in failure(picture, save(tmp_path / "r.png", marked.T.copy()))


def test_too_small(tmp_path):
    assert "1 x 1 pixels are too few" in failure(save(tmp_path / "one.png", gradient()[:1, :1]))
    assert "too few" in failure(save(tmp_path / "flat.png", gradient(200, 63)))
    assert read_image(save(tmp_path / "ok.png", gradient(200, 64))).image.shape == (64, 200, 3)


def test_large_jpeg_is_reduced_while_it_is_decoded(tmp_path):
    path = tmp_path / "big.jpg"
    Image.new("L", (30000, 3000), 77).save(path)
    frame = read_image(path)
    height, width = frame.image.shape[:2]
    assert width * height <= images.MAX_WORKING_PIXELS and width > 7000
    assert frame.source_size_px == (30000, 3000)
    assert frame.source_scale == (30000 / width, 3000 / height)
    assert abs(frame.image.mean() - 77 / 255) < 0.01
    assert any("30000 x 3000" in note for note in frame.notes)


def test_working_size_and_mask_of_a_reduced_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_WORKING_PIXELS", 96 * 72)
    big = np.kron(gradient(), np.ones((3, 3, 1), np.uint8))
    marked = np.zeros(big.shape[:2], np.uint8)
    marked[: 3 * 36] = 255
    frame = read_image(save(tmp_path / "b.png", big), save(tmp_path / "m.png", marked))
    np.testing.assert_allclose(frame.image * 255, gradient(), atol=1e-3)
    assert frame.mask is not None and frame.mask[:36].min() == 1 and frame.mask[36:].max() == 0
    assert frame.source_scale == (3, 3)
    with_alpha = read_image(save(tmp_path / "a.png", np.dstack([big, marked])))
    assert with_alpha.mask is not None and with_alpha.mask.shape == (72, 96)
    np.testing.assert_allclose(with_alpha.image[:36] * 255, gradient()[:36], atol=1.01)


def _png_header_only(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_decompression_bomb_is_refused_before_decoding(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    path.write_bytes(_png_header_only(30000, 30000))
    assert "30000 x 30000 pixels are too many" in failure(path)
    path.write_bytes(_png_header_only(2**31 - 1, 64))
    assert "too many" in failure(path)
    path = tmp_path / "progressive.jpg"  # a progressive JPEG keeps all its coefficients
    monkeypatch.setattr(images, "MAX_DECODED_PIXELS", 99 * 100)
    Image.new("L", (100, 100), 3).save(path, progressive=True)
    assert "too many" in failure(path)
    assert Image.MAX_IMAGE_PIXELS is not None  # the check of other users of Pillow stays


def test_not_a_picture(tmp_path):
    assert "no such file" in failure(tmp_path / "missing.jpg")
    assert "folder" in failure(tmp_path)
    for content, word in ((b"", "empty"), (b"hello, world" * 50, "not a picture"), (b"%!PS-Adobe-3.0 EPSF", "not a")):
        path = tmp_path / "p.jpg"
        path.write_bytes(content)
        assert word in failure(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "gif", "bmp", "avif"])
def test_cut_files_end_in_one_line(tmp_path, suffix):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
    Image.fromarray(noise).save(buffer, format={"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()))
    data = buffer.getvalue()
    path = tmp_path / f"cut.{suffix}"
    for part in (0.02, 0.3, 0.7):
        path.write_bytes(data[: int(len(data) * part)])
        assert "damaged or cut short" in failure(path) or "not a picture" in failure(path)


def test_flipped_bytes_never_end_in_another_error(tmp_path):
    buffer = io.BytesIO()
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 20)
    Image.fromarray(gradient()).save(buffer, "PNG", pnginfo=info)
    good = buffer.getvalue()
    path = tmp_path / "f.png"
    rng = np.random.default_rng(1)
    for place in rng.choice(len(good), 60, replace=False):
        bad = bytearray(good)
        bad[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(bad))
        try:
            frame = read_image(path)
        except SomacastError:
            continue
        assert np.isfinite(frame.image).all()


def test_frame_from_array():
    frame = frame_from_array(gradient())
    np.testing.assert_allclose(frame.image * 255, gradient(), atol=1e-3)
    assert frame_from_array(gradient()[..., 0]).image.shape == (72, 96, 3)
    clear = np.dstack([gradient(), np.zeros((72, 96), np.uint8)])
    with pytest.raises(SomacastError, match="fully transparent"):
        frame_from_array(clear)
    for bad in (np.zeros((72, 96, 2)), np.zeros(5), np.full((72, 96, 3), 2.0), np.zeros((8, 8, 3))):
        with pytest.raises(SomacastError):
            frame_from_array(bad)
    with pytest.raises(SomacastError):
        frame_from_array(gradient(), np.zeros((5, 5)))


# ---------------------------------------------------------------------------------------------------- crops


def test_crop_at_scale_one_copies_pixels():
    image = gradient().astype(np.float32)
    np.testing.assert_allclose(square_crop(image, SquareBox(48, 36, 20), 20), image[26:46, 38:58], atol=1e-4)


def test_crop_averages_areas_and_takes_planes():
    image = np.random.default_rng(2).random((60, 80)).astype(np.float32)
    crop = square_crop(image, (30, 30, 60), 20)
    np.testing.assert_allclose(crop, image[:60, :60].reshape(20, 3, 20, 3).mean((1, 3)), atol=1e-5)
    fractional = square_crop(image, (30.4, 29.7, 37.3), 16)
    assert fractional.shape == (16, 16)
    np.testing.assert_allclose(square_crop(np.ones_like(image), (30.4, 29.7, 37.3), 16), 1, atol=1e-5)


@pytest.mark.parametrize("box", [(30.4, 29.7, 37.3), (4.0, 70.2, 31.7), (40.2, 31.1, 7.9)])
def test_crop_kernel_matches_products_of_matrices(box):
    """The same weights as a matrix for each axis."""
    image, size = np.random.default_rng(3).random((60, 80, 3)).astype(np.float32), 16
    matrices = []
    for start, length in zip(SquareBox(*box).corner[::-1], image.shape, strict=False):
        index, weight, part = cropping._axis_weights(float(start), box[2], size, length)
        matrix = np.zeros((size, length))
        np.add.at(matrix, (np.arange(size)[:, None], index + part.start), weight)
        matrices.append(matrix)
    expected = np.einsum("yr,xc,rck->yxk", *matrices, image)
    np.testing.assert_allclose(square_crop(image, box, size), expected, atol=1e-5)


def test_rectangles_are_parts_of_squares():
    image = np.random.default_rng(4).random((60, 80, 3)).astype(np.float32)
    square = square_crop(image, SquareBox(40, 30, 48), 24)  # from (16, 6)
    part = rectangle_crop(image, np.array([20.0, 6.0]), np.array([40.0, 24.0]), 20, 12)
    np.testing.assert_allclose(part, square[:12, 2:22], atol=1e-5)
    assert rectangle_crop(image[..., 0], np.array([-4.0, 50.0]), np.array([7.3, 33.1]), 5, 9).shape == (9, 5)
    for sides, size in (([0.0, 4.0], (3, 3)), ([4.0, 4.0], (3, 0))):
        with pytest.raises(ValueError, match="expected positive sides"):
            rectangle_crop(image, np.zeros(2), np.array(sides), *size)


def test_crop_continues_the_edges():
    image = gradient().astype(np.float32)
    crop = square_crop(image, SquareBox(0, 0, 40), 40)
    np.testing.assert_allclose(crop[:20, :20], np.broadcast_to(image[0, 0], (20, 20, 3)), atol=1e-4)
    np.testing.assert_allclose(crop[20:, 20:], image[:20, :20], atol=1e-4)
    far = square_crop(image, SquareBox(-500, 30, 50), 25)
    np.testing.assert_allclose(far[:, 0, 0], 0, atol=1e-4)


@pytest.mark.parametrize("side", [17.0, 50.0, 111.5])
def test_a_ramp_lands_where_the_mapping_says(side):
    y, x = np.mgrid[0:200, 0:200].astype(np.float32) + 0.5
    box = SquareBox(101.3, 97.6, side)
    crop = square_crop(np.stack([x, y], -1), box, 32)
    centres = np.stack(np.meshgrid(np.arange(32) + 0.5, np.arange(32) + 0.5), -1)
    # exact for bilinear; an average of whole and part pixels is off by at most an eighth of a pixel
    np.testing.assert_allclose(crop, box.to_picture(centres, 32), atol=0.001 if side < 32 else 0.13)
    np.testing.assert_allclose(box.to_crop(box.to_picture(centres, 32), 32), centres, atol=1e-9)


def test_box_of_mask():
    mask = np.zeros((100, 80), np.float32)
    mask[10:70, 20:40] = 1
    box = box_of_mask(mask, margin=0.1)
    assert (box.cx, box.cy) == (30, 40) and box.side == pytest.approx(72)
    with pytest.raises(SomacastError):
        box_of_mask(mask * 0)
