"""A convex loss for scores whose right answer is known."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.gradients.category import with_backward_of


class FenchelYoung(nn.Module):
    """Perturbed Fenchel-Young loss of scores, given the right answers.

    For a solver that maximises, with ``y*`` the target and samples of the noise::

        loss = mean_s max_z <z, scores + sigma * noise_s> - <y*, scores>        d loss / d scores = mean_s z_s - y*

    and the negative of it for one that minimises. It is convex in the scores, and the least where the mean of the
    samples is ``y*``. Its value is that of the published loss up to a term of ``y*`` alone, and estimates it without
    bias; with noise of mean 0 it is not negative in expectation. There is no solver call in the backward pass.

    Args:
        samples: number of samples of the noise, at least 1.
        value: ``"residual"`` returns ``|mean_s z_s - y*|^2`` with the same gradient. Several ports of the loss report
            that number; it is not what the gradient descends.

    Raises:
        ValueError: if a setting is unknown or out of its range.

    References:
        Blondel, Martins and Niculae, "Learning with Fenchel-Young Losses", JMLR 2020; Berthet et al., "Learning with
        Differentiable Perturbed Optimizers", NeurIPS 2020.

    Example:
        >>> import torch
        >>> from logprob.discrete.noise import Normal
        >>> from logprob.discrete.solvers.top_k import TopK
        >>> scores = torch.tensor([[9.0, 0.0, 5.0]], requires_grad=True)
        >>> loss = FenchelYoung(samples=10)(PerturbAndMAP(scores, TopK(1), Normal(), 0.1), torch.eye(3)[1:2])
        >>> loss.round(), torch.autograd.grad(loss.sum(), scores)  # from item 0 to item 1
        (tensor([9.], grad_fn=<RoundBackward0>), (tensor([[ 1., -1.,  0.]]),))
    """

    def __init__(self, samples: int = 1, value: Literal["loss", "residual"] = "loss") -> None:
        super().__init__()
        if samples < 1 or value not in ("loss", "residual"):
            raise ValueError(f"expected samples >= 1 and a value of loss or residual, got {samples} and {value!r}")
        self.samples = samples
        self.value = value

    def forward(self, q: PerturbAndMAP, target: Tensor) -> Tensor:
        """The loss of each instance, of the batch shape of ``q``.

        Args:
            q: the law of answers to noisy scores.
            target: right answers, ``batch_shape + event_shape``, or means of several.

        Raises:
            ValueError: if the target has another shape.
        """
        if target.shape != q.scores.shape:
            raise ValueError(f"expected a target of shape {tuple(q.scores.shape)}, got {tuple(target.shape)}")
        points = q.perturb(q.draw_noise((self.samples,)))
        z, target = q.solve(points.detach()), target.to(points.dtype)
        event = tuple(range(-q.solver.event_dim, 0))
        loss = _product(z, points).sum(event).mean(0) - _product(target, q.scores.to(points.dtype)).sum(event)
        loss = loss if q.solver.maximize else -loss
        if self.value == "residual":
            residual = (z.mean(0) - target).square().sum(event)
            loss = with_backward_of(residual.detach(), loss)
        return loss.to(q.scores.dtype)


def _product(z: Tensor, scores: Tensor) -> Tensor:
    """``z * scores``, which is 0 where z is: scores of -inf leave something out."""
    return z * scores.masked_fill(z == 0, 0.0)
