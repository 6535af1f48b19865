"""Images to be completed: one half is given, the other is what a model predicts."""

from __future__ import annotations

import torch
from torch import Tensor

from logprob.batch import Batch
from logprob.data.base import Dataset
from logprob.data.pixels import PreparedImages, changed, image_shape_of


# A dataclass by inheritance: it has no field of its own, and a constructor made anew would look for the type of
# ``source`` here.
class ImageCompletion(PreparedImages):
    """The lower half of an image given the upper half: ``x`` is the lower one, ``context`` the upper one.

    Both are ``(N, C (H/2) W)``, and ``image_shape`` is ``(C, H/2, W)``, that of either half. Labels stay in ``target``.
    :func:`whole_images` joins the halves again.

    Args:
        source: of images that are prepared as the model is to see them.

    Raises:
        ValueError: at :meth:`load`, if the source's rows are no images of an even height.

    References:
        Raiko, Berglund, Alain and Dinh, "Techniques for Learning Binary Stochastic Feedforward Neural Networks",
        ICLR 2015.

    Example:
        >>> from logprob.data import BinaryImages, Digits
        >>> data = ImageCompletion(BinaryImages(Digits())).load()
        >>> data.train.x.shape, data.train.context.shape, data.image_shape
        (torch.Size([1259, 32]), torch.Size([1259, 32]), (1, 4, 8))
    """

    def _prepared(self, dataset: Dataset) -> Dataset:
        channels, height, width = image_shape_of(dataset)
        if height % 2:
            raise ValueError(f"expected images of an even height, got {dataset.image_shape} in {dataset.name!r}")

        def divided(batch: Batch) -> Batch:
            upper, lower = batch.x.unflatten(-1, (channels, height, width)).chunk(2, dim=-2)
            return batch._replace(x=lower.flatten(1), context=upper.flatten(1))

        return changed(dataset, "completed", {}, divided, (channels, height // 2, width), dataset.categories)


def whole_images(upper: Tensor, lower: Tensor, image_shape: tuple[int, int, int]) -> Tensor:
    """Images from their halves.

    Args:
        upper: flattened halves, shape ``(..., C h W)``.
        lower: the other halves; leading shapes broadcast.
        image_shape: ``(C, h, W)`` of either half.

    Returns: flattened images of shape ``(..., C 2h W)``.

    Example:
        >>> whole_images(torch.zeros(3, 4), torch.ones(3, 4), (1, 2, 2))[0]
        tensor([0., 0., 0., 0., 1., 1., 1., 1.])
    """
    halves = torch.broadcast_tensors(upper, lower)
    return torch.cat([half.unflatten(-1, tuple(image_shape)) for half in halves], dim=-2).flatten(-3)
