"""Colours stay colours, and normalisation can be undone."""

import numpy as np
import torch

from evonas.data.augment import denormalise, flips, jitter_colour, normalise
from evonas.randomness import generator

IMAGE = np.random.default_rng(0).random((8, 12, 3), dtype=np.float32)


def test_normalising_can_be_undone() -> None:
    pixels = (IMAGE * 255).astype(np.uint8)
    tensor = normalise(pixels.astype(np.float32) / 255)
    assert tensor.shape == (3, 8, 12)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    np.testing.assert_array_equal(denormalise(tensor[None])[0], pixels)


def test_jitter_stays_in_range_and_near_the_image() -> None:
    changed = 0
    for step in range(200):
        out = jitter_colour(IMAGE, generator(0, "test", step))
        assert out.dtype == np.float32
        assert out.min() >= 0 and out.max() <= 1
        changed += bool((out != IMAGE).any())
        # bounds: gamma 1.1 and gains of 0.75 x 0.9 at the dark end, 1.25 x 1.1 at the bright end
        assert (out >= np.clip(IMAGE**1.1 * 0.675 - 1e-5, 0, 1)).all()
        assert (out <= np.clip(IMAGE**0.9 * 1.375 + 1e-5, 0, 1)).all()
    assert 70 < changed < 130


def test_half_of_the_images_are_flipped() -> None:
    count = sum(flips(generator(0, "test", step)) for step in range(400))
    assert 150 < count < 250


def test_jitter_is_a_function_of_its_generator() -> None:
    outs = [jitter_colour(IMAGE, generator(0, "test", 1)) for _ in range(2)]
    np.testing.assert_array_equal(outs[0], outs[1])
