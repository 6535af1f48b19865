"""What the latent variables of a model mean: means of prior draws, categories, traversals."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from logprob.distributions.checks import has_categories
from logprob.experiments.figures.canvas import bare
from logprob.experiments.figures.images import Pixels, sheet, tiled

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

QUANTILES = 12  # from 5 % to 95 % of the prior
DRAWS = 10  # of the other variables, for each category
SCORED = 500  # rows that say which continuous variable carries the most


def latent_drawings(model: Any, x: Tensor, pixels: Pixels, samples: int) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """Names and makers of the pictures of a model with latent variables; none of other models.

    Args:
        model: any model.
        x: test rows on its device.
        pixels: how rows are shown.
        samples: prior draws to show; 0 for none.
    """
    if not hasattr(model, "posteriors") or not hasattr(model, "decode"):
        return
    if samples:
        yield "prior-means.png", partial(prior_means, model, samples, pixels)
    priors = model.priors()
    category = next((i for i, p in enumerate(priors) if has_categories(p)), None)
    continuous = next((i for i, p in enumerate(priors) if isinstance(p, Normal)), None)
    if category is not None and continuous is not None:
        yield "categories.png", partial(category_sheet, model, category, pixels)
        yield "traversals.png", partial(traversal_sheet, model, x[:SCORED], category, continuous, pixels)
        yield "continuous.png", partial(continuous_sheet, model, x[:SCORED], continuous, pixels)


def prior_means(model: Any, count: int, pixels: Pixels) -> Figure:
    """Decoder means of draws from the prior, categories as one-hot vectors."""
    z = [_hard(p, p.sample((count,))) for p in model.priors()]
    return _pictures(_means(model, z), pixels, "means of rows given draws from the prior")


def category_sheet(model: Any, group: int, pixels: Pixels) -> Figure:
    """A line for each category of the first variable of ``group``: decoder means, the rest drawn from the prior."""
    priors = model.priors()
    categories = priors[group].event_shape[0]
    z = [
        _hard(p, p.sample((DRAWS,))).repeat(categories, *[1] * (len(p.batch_shape) + len(p.event_shape)))
        for p in priors
    ]
    z[group][:, 0] = _each_category(categories, DRAWS, z[group])
    return _pictures(_means(model, z), pixels, "a line for each category, the rest drawn from the prior", DRAWS)


def traversal_sheet(model: Any, x: Tensor, group: int, continuous: int, pixels: Pixels) -> Figure:
    """A line for each category: the most informative continuous variable goes from its 5 % to its 95 % quantile.

    The other continuous variables stay at their prior's mean.
    """
    which = int(_information(model, x, continuous).argmax())
    priors = model.priors()
    categories = priors[group].event_shape[0]
    rows = categories * QUANTILES
    z = [_repeated(_hard(p, p.sample((1,))), rows) for p in priors]
    z[group][:, 0] = _each_category(categories, QUANTILES, z[group])
    z[continuous] = torch.zeros_like(z[continuous])
    z[continuous][:, which] = _quantiles(z[continuous]).repeat(categories)
    title = f"categories down, continuous variable {which} across (5 % to 95 % of its prior)"
    return _pictures(_means(model, z), pixels, title, QUANTILES)


def continuous_sheet(model: Any, x: Tensor, continuous: int, pixels: Pixels) -> Figure:
    """A line for each continuous variable, the most informative first, around what the first row is encoded as."""
    order = _information(model, x, continuous).argsort(descending=True)
    z = [_hard(q, q.sample()) for q in model.posteriors(x[:1])]
    z[continuous] = model.posteriors(x[:1])[continuous].mean
    z = [_repeated(part, len(order) * QUANTILES) for part in z]
    for line, variable in enumerate(order.tolist()):
        z[continuous][line * QUANTILES : (line + 1) * QUANTILES, variable] = _quantiles(z[continuous])
    title = "a line for each continuous variable, by its divergence; 5 % to 95 % of its prior"
    return _pictures(_means(model, z), pixels, title, QUANTILES)


def _information(model: Any, x: Tensor, group: int) -> Tensor:
    """Mean divergence from the prior of each variable of a group of continuous variables, in nats."""
    return kl_divergence(model.posteriors(x)[group], model.priors()[group]).mean(0)


def _repeated(z: Tensor, times: int) -> Tensor:
    """Rows, all of them, so many times."""
    return z.repeat(times, *[1] * (z.dim() - 1))


def _hard(law: Any, z: Tensor) -> Tensor:
    """Relaxed samples as the one-hot vectors that they are near; others as they are."""
    return F.one_hot(z.argmax(-1), z.shape[-1]).to(z) if has_categories(law) else z


def _each_category(categories: int, repeats: int, like: Tensor) -> Tensor:
    return torch.eye(categories, device=like.device, dtype=like.dtype).repeat_interleave(repeats, 0)


def _quantiles(like: Tensor) -> Tensor:
    return Normal(0.0, 1.0).icdf(torch.linspace(0.05, 0.95, QUANTILES)).to(like)


def _means(model: Any, z: list[Tensor]) -> Tensor:
    means: Tensor = model.likelihood.mean(model.decode(z))
    return means


def _pictures(rows: Tensor, pixels: Pixels, title: str, columns: int = 10) -> Figure:
    images = pixels.images(rows)
    figure, axis = sheet(tiled(images, columns), images.shape[1:3], len(images), title, columns)
    bare(axis)
    return figure
