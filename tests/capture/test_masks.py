"""Transparency is a mask only where it looks like somebody cut out; masks of all kinds are understood or refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from somacast.capture.masks import ALL, INVERTED, NO_CUT_OUT, cut_out
from somacast.capture.pictures import AS_MASK, frame_from_array, read_image
from somacast.errors import SomacastError
from somacast.pipeline.still.sender import frame_of

SIZE = (120, 160)


def person(size: tuple[int, int] = SIZE, half: bool = False) -> np.ndarray:
    """Somebody's outline, uint8 [H, W]: 255 where they are."""
    image = Image.new("L", size)
    draw = ImageDraw.Draw(image)
    draw.ellipse((48, 8, 72, 38), fill=255)
    draw.polygon(
        [(30, 44), (90, 44), (80, 95), (88, 155), (64, 155), (60, 105), (56, 155), (32, 155), (40, 95)], fill=255
    )
    draw.line([(34, 48), (12, 100)], fill=255, width=10)
    draw.line([(86, 48), (108, 100)], fill=255, width=10)
    mask = np.array(image)
    return np.array(Image.fromarray(mask[:80]).resize(size)) if half else mask


def photograph(size: tuple[int, int] = SIZE) -> np.ndarray:
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    return np.stack([x * 2 % 256, y * 1.5 % 256, (x + y) % 200], -1).astype(np.uint8)


def shape(draw_on) -> np.ndarray:
    image = Image.new("L", SIZE)
    draw_on(ImageDraw.Draw(image))
    return np.array(image)


NOT_CUT_OUT = {
    "nearly opaque": np.full(SIZE[::-1], 254, np.uint8),
    "evenly translucent": np.full(SIZE[::-1], 90, np.uint8),
    "round corners": shape(lambda d: d.rounded_rectangle((0, 0, 119, 159), 18, fill=255)),
    "a window with room around it": shape(lambda d: d.rounded_rectangle((12, 10, 107, 140), 8, fill=255)),
    "a disc": shape(lambda d: d.ellipse((4, 20, 115, 131), fill=255)),
    "a clear hole": 255 - shape(lambda d: d.ellipse((40, 40, 80, 80), fill=255)),
}


@pytest.mark.parametrize("name", NOT_CUT_OUT)
def test_pictures_with_alpha_that_are_no_cut_outs(tmp_path, name):
    alpha = NOT_CUT_OUT[name]
    Image.fromarray(np.dstack([photograph(), alpha])).save(tmp_path / "a.png")
    frame = read_image(tmp_path / "a.png")
    assert frame.mask is None and AS_MASK not in frame.notes
    covered = alpha > 200 if alpha.max() > 200 else alpha > 0
    np.testing.assert_allclose(frame.image[covered] * 255, photograph()[covered], atol=3)
    assert (NO_CUT_OUT in frame.notes) == (alpha.min() < 80)
    for given in (np.dstack([photograph(), alpha]), Image.fromarray(np.dstack([photograph(), alpha]))):
        assert frame_of(given).mask is None  # the same door for arrays


def test_a_window_with_a_soft_shadow_is_a_picture():
    window = Image.fromarray(shape(lambda d: d.rounded_rectangle((15, 12, 104, 140), 6, fill=255)))
    shadow = np.asarray(window.filter(ImageFilter.GaussianBlur(8))) * 0.4
    assert cut_out(np.maximum(np.asarray(window), shadow).astype(np.float32) / 255) is None


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("soft", ["hard", "soft edge", "very soft", "faint", "drawn below"])
def test_cut_outs(half, soft):
    alpha = person(half=half).astype(np.float32) / 255
    radius = {"soft edge": 1.5, "very soft": 6}.get(soft)
    if radius:
        blurred = Image.fromarray(np.uint8(alpha * 255)).filter(ImageFilter.GaussianBlur(radius))
        alpha = np.asarray(blurred).astype(np.float32) / 255
    given = alpha * 0.5 if soft == "faint" else alpha
    frame = frame_from_array(np.dstack([photograph().astype(np.float32) / 255, given]))
    assert frame.mask is not None and frame.notes == [AS_MASK]
    np.testing.assert_allclose(frame.mask, alpha / alpha.max(), atol=0.02)
    np.testing.assert_allclose(frame.image[alpha == 0], 0.5, atol=1e-6)


def save(path, array):
    Image.fromarray(array).save(path)
    return path


def colored(background: tuple[int, int, int], label: tuple[int, int, int]) -> np.ndarray:
    return np.where(person()[..., None] > 0, np.uint8(label), np.uint8(background))


WHITE, BLACK = np.full((*SIZE[::-1], 3), 255, np.uint8), np.zeros((*SIZE[::-1], 3), np.uint8)
MASKS = {
    "white on black": person(),
    "ones": (person() > 0).astype(np.uint8),
    "sixteen bit": (person() > 0).astype(np.uint16),
    "grey on black": person() // 2,
    "white on grey": np.maximum(person(), 100),
    "white on transparent": np.dstack([WHITE, person()]),
    "black on transparent": np.dstack([BLACK, person()]),
    "the picture itself cut out": np.dstack([photograph(), person()]),
    "white on black, opaque": np.dstack([np.repeat(person()[..., None], 3, 2), np.full_like(person(), 255)]),
    "a translucent label": np.dstack([colored((220, 20, 60), (220, 20, 60)), person() // 2]),
    "a label on black": colored((0, 0, 0), (192, 128, 128)),
    "a blue label on white": colored((255, 255, 255), (20, 20, 230)),
    "a green label on blue": colored((0, 0, 160), (0, 120, 0)),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_of_all_kinds(tmp_path, name):
    picture = save(tmp_path / "p.png", photograph())
    frame = read_image(picture, save(tmp_path / "m.png", MASKS[name]))
    assert frame.mask is not None and frame.mask.dtype == np.float32
    np.testing.assert_array_equal(frame.mask > 0.5, person() > 0)
    assert frame.notes == ["the given mask is used"]
    if MASKS[name].dtype == np.uint8:
        for given in (MASKS[name], Image.fromarray(MASKS[name]), str(tmp_path / "m.png")):
            np.testing.assert_allclose(frame_of(photograph(), given).mask, frame.mask, atol=1e-6)


def test_palette_and_bool_masks(tmp_path):
    image = Image.fromarray((person() > 0).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 192, 128, 128])
    image.save(tmp_path / "m.png")
    frame = frame_of(photograph(), tmp_path / "m.png")
    np.testing.assert_array_equal(frame.mask > 0.5, person() > 0)
    np.testing.assert_array_equal(frame_of(photograph(), person() > 0).mask, person() > 0)


@pytest.mark.parametrize("given", [255 - person(), np.dstack([WHITE, 255 - person()]), 255 - person(half=True)])
def test_inverted_masks_are_turned_over(given):
    frame = frame_of(photograph(), given)
    assert INVERTED in frame.notes
    plain = given[..., 3] if given.ndim == 3 else given
    np.testing.assert_allclose(frame.mask, 1 - plain / 255, atol=1e-6)


def test_a_mask_of_everything_is_said():
    frame = frame_of(photograph(), np.full(SIZE[::-1], 255, np.uint8))
    assert ALL in frame.notes and frame.mask.min() == 1


STUDIO = np.where(person()[..., None] > 0, photograph(), 255).astype(np.uint8)


@pytest.mark.parametrize("given", [photograph(), photograph().mean(2).astype(np.uint8), STUDIO,
                                   STUDIO.mean(2).astype(np.uint8)])  # fmt: skip
def test_photographs_are_no_masks(tmp_path, given):
    mask = save(tmp_path / "photo.png", given)
    for act in (lambda: frame_of(photograph(), given), lambda: frame_of(photograph(), mask)):
        with pytest.raises(SomacastError, match="photograph, not like a mask|coloured picture, not a mask") as caught:
            act()
        assert "\n" not in str(caught.value)


def test_masks_that_cannot_be(tmp_path):
    for given, reason in (
        (person() * 0, "empty"),
        (person()[:100], "expected shape"),
        (person()[None], "expected shape"),
    ):
        with pytest.raises(SomacastError, match=reason):
            frame_of(photograph(), given)
    with pytest.raises(SomacastError, match="fully transparent"):
        frame_from_array(np.dstack([photograph(), person() * 0]))
