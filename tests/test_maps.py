"""Maps of whole images: tiles, scales, mirrors."""

import functools
import tracemalloc
import types

from hypothesis import given
from hypothesis import strategies as st
import jax
import numpy as np
import pytest
from scipy import ndimage, special

from jaxcnn import models
from jaxcnn.errors import UserError
from jaxcnn.serving import maps, predictor
from jaxcnn.serving.maps import Passes
from jaxcnn.tasks import Restoration, Segmentation


def picture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), np.uint8)


@functools.cache
def unet():
    """A U-Net of three levels, as a function of one image; it sees 20 pixels around."""
    model = models.create_model("unet_2015", 2, filters=(2, 3, 4))
    images = picture(64, 64)[None].astype(np.float32)
    variables = jax.jit(functools.partial(model.init, train=False))(
        jax.random.key(0), images
    )
    apply = jax.jit(functools.partial(model.apply, train=False))
    return lambda image: np.asarray(apply(variables, image[None] / np.float32(255)))[0]


@pytest.mark.parametrize("size", [(150, 97), (96, 203)])
def test_tiles_leave_no_seam_where_the_field_fits(size):
    image = picture(*size)
    whole = unet()(image)
    found = maps.tiled(unet(), image, 96, 64)
    assert found.shape == whole.shape
    assert np.abs(found - whole).max() < 1e-5 * np.abs(whole).max()


def test_tiles_leave_seams_where_the_field_does_not_fit():
    image = picture(150, 97)
    # Each pixel is the mean of 81 x 81 around it, and tiles show 32 of the 40 beyond.
    mean = functools.partial(ndimage.uniform_filter, size=(81, 81, 1), mode="constant")
    whole = mean(image.astype(np.float32))
    found = maps.tiled(lambda x: mean(x.astype(np.float32)), image, 96, 64)
    assert np.abs(found - whole).max() > 1


@given(st.integers(1, 700), st.integers(3, 8), st.integers(1, 2))
def test_tiles_cover_every_pixel_once(side, tiles, overlaps):
    tile, overlap = 32 * (tiles + overlaps), 32 * overlaps
    spans = maps.spans(side, tile, overlap)
    kept = np.concatenate([np.arange(side)[span.kept] for span in spans])
    np.testing.assert_array_equal(kept, np.arange(side))
    for span in spans:
        seen = np.arange(side)[span.seen]
        assert len(seen) <= tile
        assert span.seen.start % maps.ALIGNED == 0
        np.testing.assert_array_equal(seen[span.within], np.arange(side)[span.kept])
        for edge, border in ((span.kept.start, 0), (span.kept.stop, side)):
            margin = min(abs(edge - span.seen.start), abs(edge - span.seen.stop))
            assert edge == border or margin >= overlap // 2


def test_passes_at_other_scales_and_mirrored_come_back_to_their_places():
    rows, columns = np.mgrid[:40, :60]
    image = np.stack([2 * rows, columns, rows + columns], axis=-1).astype(np.uint8)

    def forward(seen):
        return seen.astype(np.float32)

    mean = Restoration().mean_output
    once = maps.predicted(forward, image, (40, 60), Passes(), mean)
    np.testing.assert_array_equal(once, image)
    sizes = []

    def watched(seen):
        sizes.append(seen.shape[:2])
        return forward(seen)

    passes = Passes(scales=(1.0, 2.0), mirrored=True)
    found = maps.predicted(watched, image, (20, 30), passes, mean)
    assert sizes == [(20, 30), (20, 30), (40, 60), (40, 60)]
    # A plane stays one but for rounding to grey levels and the borders.
    assert np.abs(found - image)[2:-2, 2:-2].max() < 1


def test_the_mean_of_logits_is_that_of_probabilities():
    rng = np.random.default_rng(0)
    logits = [rng.normal(0, 4, (3, 5, 4)).astype(np.float32) for _ in range(3)]
    task = Segmentation(tuple("abcd"))
    expected = np.mean([special.softmax(x, axis=-1) for x in logits], axis=0)
    found = special.softmax(task.mean_output(logits), axis=-1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert task.mean_output(iter(logits)).dtype == np.float32
    plain = Restoration().mean_output(iter(logits))
    np.testing.assert_allclose(plain, np.mean(logits, axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("task", [Segmentation(tuple("abcdefgh")), Restoration()])
def test_the_maps_of_passes_are_not_kept(task):
    image = np.zeros((200, 200, 3), np.uint8)
    size = 200 * 200 * 8 * 4  # bytes of one map

    def forward(seen):
        return np.ones((*seen.shape[:2], 8), np.float32)

    passes = Passes(scales=(1.0,) * 8, mirrored=True)
    tracemalloc.start()
    try:
        maps.predicted(forward, image, (200, 200), passes, task.mean_output)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * size  # of 16 passes


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"tile": 100},
            "a multiple of 32 pixels, over overlap, which is 128, not 100",
        ),
        ({"tile": 128}, "over overlap, which is 128, not 128"),
        ({"overlap": 0}, "overlap must be a multiple of 32 pixels, not 0"),
        ({"overlap": 48}, "overlap must be a multiple of 32"),
        ({"scales": ()}, r"scales must be numbers in \(0, 8\], not \(\)"),
        ({"scales": (0.5, 9.0)}, r"scales must be numbers in \(0, 8\]"),
        ({"scales": ["a"]}, r"scales must be numbers in \(0, 8\], not \['a'\]"),
    ],
)
def test_passes_that_cannot_be_are_refused(fields, text):
    with pytest.raises(UserError, match=text):
        Passes(**fields)


@pytest.mark.parametrize(
    ("transform", "size"),
    [
        ("resize", (224, 224)),
        ("crop", (256, 426)),  # torchvision's: 500 * 256 / 300, rounded down
        ("center_crop", (256, 426)),
        ("pad", (134, 224)),
        ("center_patch", (300, 500)),
    ],
)
def test_imported_weights_see_an_image_in_the_scale_of_their_transform(transform, size):
    # By hand, for images of 300 x 500 pixels.
    preprocessing = types.SimpleNamespace(
        transform=transform, size=(224, 224), crop_ratio=0.875
    )
    weights = types.SimpleNamespace(preprocessing=preprocessing)
    assert predictor._seen_size_of(weights)((300, 500)) == size
