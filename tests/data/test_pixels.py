"""Images prepared for a model: scaled, binary, drawn, resized, halved; and which sources they refuse."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import get_type_hints

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from logprob.data import (
    DEBD,
    BinaryImages,
    CelebA,
    Dataset,
    DataSource,
    Digits,
    IdxImages,
    ImageCompletion,
    Omniglot,
    Omniglot28,
    OrderedDigits,
    ResizedImages,
    SampledBinaryImages,
    ScaledImages,
    Synthetic2D,
    pixels,
    whole_images,
)
from logprob.data.splits import batches

WRAPPERS = {
    "scaled": ScaledImages,
    "binary": BinaryImages,
    "sampled-binary": SampledBinaryImages,
    "32x32": ResizedImages,
    "completed": lambda source: ImageCompletion(ScaledImages(source)),
}
SOURCES = {
    "mnist": IdxImages(),
    "omniglot": Omniglot(),
    "omniglot-published": Omniglot("published"),
    "omniglot28": Omniglot28(),
    "celeba64": CelebA(),
}


@dataclass(frozen=True)
class Given(DataSource):
    """Rows that a test made up."""

    rows: torch.Tensor
    categories: int | None = None
    image_shape: tuple[int, int, int] | None = (1, 2, 2)

    def load(self, root=None):
        return Dataset("given", *batches([self.rows] * 3), self.categories, self.image_shape)


def parts(data):
    return data.train, data.valid, data.test


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", SOURCES)
def test_stand_ins_of_every_source(name, wrapper):
    """No file is needed; pixels lie in [0, 1], labels are the source's, and the shape is that of a row."""
    source = WRAPPERS[wrapper](SOURCES[name])
    data, plain = source.stand_in(12), SOURCES[name].stand_in(12)
    assert data.name.startswith(wrapper)
    assert data.name.endswith(f"{name} stand-in")
    assert data.categories is None
    assert data.content_sha256 == plain.content_sha256  # of the source's rows
    assert json.loads(json.dumps(data.provenance))["preparation"][-1]["name"] == wrapper
    for part, before in zip(parts(data), parts(plain), strict=True):
        assert part.x.dtype == torch.float32
        assert part.x.shape == (12, np.prod(data.image_shape))
        assert part.x.min() >= 0
        assert part.x.max() <= 1
        assert (part.target is None) == (before.target is None)
        assert before.target is None or torch.equal(part.target, before.target)
        assert (part.context is not None) == (wrapper == "completed")


def test_digits_of_the_acceptance_protocol():
    """Pixel >= 8 -> 1, the first 1,500 to train on and the last 297 to test."""
    from sklearn.datasets import load_digits

    rows, labels = load_digits(return_X_y=True)
    data = BinaryImages(OrderedDigits()).load()
    np.testing.assert_array_equal(data.train.x, rows[:1500] >= 8)
    np.testing.assert_array_equal(data.test.x, rows[1500:] >= 8)
    np.testing.assert_array_equal(data.test.target, labels[1500:])
    assert torch.equal(data.valid.x, data.train.x[:297])
    assert data.name == "binary-ordered-digits"


@pytest.mark.parametrize("wrapper", [ScaledImages, BinaryImages, SampledBinaryImages, ResizedImages, ImageCompletion])
def test_recipes_can_read_the_signature(wrapper):
    assert get_type_hints(wrapper.__init__)["source"] is DataSource
    assert repr(wrapper(Digits())).startswith(f"{wrapper.__name__}(source=Digits(")
    assert wrapper(Digits()) == wrapper(Digits()) != wrapper(OrderedDigits())


def test_codes_are_scaled_and_cut():
    rows = torch.tensor([[0, 127, 128, 255]])
    scaled = ScaledImages(Given(rows, 256)).load().train.x
    torch.testing.assert_close(scaled, torch.tensor([[0, 127 / 255, 128 / 255, 1]]))
    assert BinaryImages(Given(rows, 256)).load().train.x.tolist() == [[0, 0, 1, 1]]
    assert BinaryImages(Given(rows, 256), threshold=1.0).load().train.x.tolist() == [[0, 0, 0, 1]]
    bytes_too = ScaledImages(Given(rows.to(torch.uint8), 256)).load().train.x
    assert torch.equal(bytes_too, scaled)
    grey = torch.tensor([[0.0, 0.25, 0.5, 1.0]], dtype=torch.float64)
    assert ScaledImages(Given(grey)).load().train.x.dtype == torch.float32
    assert BinaryImages(Given(grey), 0.25).load().train.x.tolist() == [[0, 1, 1, 1]]


def test_draws_follow_the_grey_level_and_the_seed():
    """A frequency of 20,000 draws is within five standard errors, 1.8 %: one false alarm in two million."""
    rows = torch.tensor([[0, 64, 128, 255]]).expand(20_000, -1)
    data = SampledBinaryImages(Given(rows, 256)).load()
    torch.testing.assert_close(data.train.x.mean(0), rows[0] / 255, atol=0.018, rtol=0)
    assert data.train.x.mean(0)[[0, 3]].tolist() == [0, 1]
    assert not torch.equal(data.train.x, data.valid.x)
    assert torch.equal(data.train.x, SampledBinaryImages(Given(rows, 256)).load().train.x)
    assert not torch.equal(data.train.x, SampledBinaryImages(Given(rows, 256), seed=1).load().train.x)


@pytest.mark.parametrize("size", [32, 28, 14, 9])
def test_images_are_resized(monkeypatch, size):
    images = torch.randint(0, 256, (7, 3, 28, 28))
    monkeypatch.setattr(pixels, "BLOCK", 3)
    data = ResizedImages(Given(images.flatten(1), 256, (3, 28, 28)), size).load()
    assert data.image_shape == (3, size, size)
    new = data.train.x.reshape(7, 3, size, size)
    if size >= 28:
        expected = F.interpolate(images / 255, (size, size), mode="bilinear", align_corners=False)
        torch.testing.assert_close(new, expected, atol=1e-6, rtol=0)
    else:  # antialiased: means stay, and nothing is passed over
        torch.testing.assert_close(new.mean((2, 3)), (images / 255).mean((2, 3)), atol=0.02, rtol=0)
        assert new.std() < (images / 255).std() * 0.6


def test_a_constant_image_stays_within_bounds():
    rows = torch.full((2, 12), 255)
    assert ResizedImages(Given(rows, 256, (1, 3, 4)), 7).load().train.x.max() <= 1
    assert BinaryImages(ResizedImages(Given(rows, 256, (1, 3, 4)), 7)).load().image_shape == (1, 7, 7)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 4, 5)])
def test_halves_make_the_whole(shape):
    images = torch.randint(0, 9, (6, *shape))
    data = ImageCompletion(Given(images.flatten(1), 9, shape)).load()
    channels, height, width = shape
    assert (data.categories, data.image_shape) == (9, (channels, height // 2, width))
    assert torch.equal(data.train.context.reshape(6, *data.image_shape), images[:, :, : height // 2])
    assert torch.equal(data.train.x.reshape(6, *data.image_shape), images[:, :, height // 2 :])
    assert torch.equal(whole_images(data.train.context, data.train.x, data.image_shape), images.flatten(1))
    several = whole_images(data.train.context, data.train.x.expand(4, 6, -1), data.image_shape)
    assert torch.equal(several[2], images.flatten(1))


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (lambda: BinaryImages(Digits(), threshold=0), r"threshold must lie in \(0, 1\], got 0"),
        (lambda: BinaryImages(Digits(), threshold=1.5), "got 1.5"),
        (lambda: ResizedImages(Digits(), size=0), "size must be at least 1, got 0"),
        (lambda: ScaledImages(Synthetic2D("ring")).stand_in(9), r"codes or in \[0, 1\], got torch.float64 from -"),
        (lambda: ScaledImages(Given(torch.ones(2, 4).long())).load(), "got torch.int64 from 1 to 1 in 'given'"),
        (lambda: ScaledImages(Given(torch.full((2, 4), torch.nan))).load(), "got torch.float32 from nan to nan"),
        (lambda: ResizedImages(DEBD("plants")).stand_in(9), "expected a source of images, got 'plants stand-in'"),
        (lambda: ImageCompletion(DEBD("plants")).stand_in(9), "expected a source of images"),
        (lambda: ImageCompletion(Given(torch.zeros(2, 6), None, (1, 3, 2))).load(), r"even height, got \(1, 3, 2\)"),
        (lambda: BinaryImages(ImageCompletion(Digits())).load(), "before they are divided"),
    ],
)
def test_errors(wrong, match):
    with pytest.raises(ValueError, match=match):
        wrong()
