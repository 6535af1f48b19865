"""The identifiable variational autoencoder: a latent variable model whose prior depends on a condition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn import functional

from logprob.distributions import DistributionModule, IntractableError, UnnormalizedDistribution
from logprob.energy.labels import check_labels
from logprob.nn.stacked import StackedLinear, StackedMLP, copies_shape

Likelihood = Literal["normal", "laplace", "bernoulli"]
SLOPE = 0.1  # of the leaky ReLUs, as published
LOG_2PI = math.log(2 * math.pi)


class Terms(NamedTuple):
    """The three terms of the bound at one draw of z, in nats, each ``(*copies, N)``."""

    log_likelihood: Tensor
    log_prior: Tensor
    log_posterior: Tensor


class IVAE(DistributionModule):
    """``p(x, z | y) = p(x | z) N(z; 0, diag exp(l(y)))`` with the posterior ``N(z; m(x, y), diag exp(v(x, y)))``.

    The bound of ``log p(x | y)`` is ``E_q [log p(x | z) + log p(z | y) - log q(z | x, y)]``, here at one draw, all
    constants included. Four networks with leaky ReLUs: l on one-hot labels, the decoder on z, m and v on rows beside
    one-hot labels. The labels make z identifiable up to simple maps, which a VAE's is not.

    Args:
        features: number D of variables of a row.
        conditions: number K of conditions.
        latents: number L of latent variables; D if omitted.
        hidden: widths of the hidden layers of each network; ``(2 D, 2 D)`` if omitted.
        copies: number C of models side by side, or None for no leading axis.
        likelihood: of a row around the decoder's output: ``"normal"``, ``"laplace"`` (of that variance), or
            ``"bernoulli"``, whose logits the decoder gives.
        decoder_variance: variance of each variable given z, > 0; not used by ``"bernoulli"``.

    Shapes: rows ``(N, D)`` for all copies alike, or ``(C, N, D)``; labels ``(N,)``; latents ``(C, N, L)``.

    Raises:
        ValueError: for a number below one, an unknown likelihood, or a variance that is not positive; when
            called, for labels that are no integers from 0 to K - 1.

    References:
        Khemakhem, Kingma, Monti and Hyvarinen, "Variational Autoencoders and Nonlinear ICA: A Unifying Framework",
        AISTATS 2020.

    Example:
        >>> model = IVAE(5, conditions=20, copies=8)
        >>> x, y = torch.randn(6, 5), torch.arange(6)
        >>> model.elbo(x, y).shape, model.features(x, y).shape, model(y).sample((3,)).shape
        (torch.Size([8, 6]), torch.Size([8, 6, 5]), torch.Size([3, 8, 6, 5]))
    """

    def __init__(
        self,
        features: int,
        conditions: int,
        latents: int | None = None,
        hidden: Sequence[int] | None = None,
        copies: int | None = None,
        likelihood: Likelihood = "normal",
        decoder_variance: float = 0.01,
    ) -> None:
        super().__init__()
        if likelihood not in get_args(Likelihood):
            raise ValueError(f"likelihood must be one of {', '.join(get_args(Likelihood))}, got {likelihood!r}")
        if not decoder_variance > 0:
            raise ValueError(f"decoder_variance must be positive, got {decoder_variance}")
        latents = features if latents is None else latents
        hidden = (2 * features, 2 * features) if hidden is None else tuple(hidden)
        self.variables, self.conditions, self.latents, self.copies = features, conditions, latents, copies
        self.likelihood, self.decoder_variance = likelihood, decoder_variance
        self.encoder = TwinMLP(features + conditions, latents, hidden, copies)
        self.prior = StackedMLP(conditions, latents, hidden, "leaky-relu", copies, SLOPE)
        self.decoder = StackedMLP(latents, features, hidden, "leaky-relu", copies, SLOPE)
        self.apply(_start)

    def forward(self, context: Tensor | None = None) -> IVAEDistribution:
        """The distribution of a row given each label of ``context``, ``(N,)``.

        Raises:
            ValueError: unless they are integers from 0 to K - 1.
        """
        return IVAEDistribution(self, check_labels(context, self.conditions))

    def encode(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of ``q(z | x, y)``, each ``(*copies, N, L)``."""
        labels = functional.one_hot(check_labels(y, self.conditions), self.conditions).to(x.dtype)  # (N, K)
        mean, log_variance = self.encoder(torch.cat([x, labels.expand(*x.shape[:-1], -1)], dim=-1)).unbind(-3)
        return mean, log_variance

    def features(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean of ``q(z | x, y)``, ``(*copies, N, L)``."""
        return self.encode(x, y)[0]

    def prior_log_variance(self, y: Tensor) -> Tensor:
        """``l(y)``, ``(*copies, N, L)``; the network is asked once a condition, not once a row."""
        table = self.prior(torch.eye(self.conditions, dtype=self.dtype, device=y.device))  # (*copies, K, L)
        picked: Tensor = table.index_select(-2, y)
        return picked

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the parameters."""
        return next(self.parameters()).dtype

    def terms(self, x: Tensor, y: Tensor, eps: Tensor | None = None) -> Terms:
        """The terms of the bound at ``z = m + exp(v / 2) eps``; standard normal ``eps (*copies, N, L)`` if omitted."""
        mean, log_variance = self.encode(x, y)
        eps = torch.randn_like(mean) if eps is None else eps
        z = mean + eps * (log_variance / 2).exp()
        return Terms(
            self.log_likelihood(x, self.decoder(z)),
            _log_normal(z, self.prior_log_variance(y)),
            -(eps.square() + log_variance).sum(-1) / 2 - self.latents * LOG_2PI / 2,
        )

    def elbo(self, x: Tensor, y: Tensor, eps: Tensor | None = None) -> Tensor:
        """Lower bound of ``log p(x | y)`` at one draw, in nats, ``(*copies, N)``."""
        terms = self.terms(x, y, eps)
        return terms.log_likelihood + terms.log_prior - terms.log_posterior

    def log_likelihood(self, x: Tensor, decoded: Tensor) -> Tensor:
        """``log p(x | z)`` in nats from the decoder's output, ``(*copies, N)``."""
        if self.likelihood == "bernoulli":
            logits, target = torch.broadcast_tensors(decoded, x)
            return -functional.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(-1)
        if self.likelihood == "laplace":
            scale = math.sqrt(self.decoder_variance / 2)
            return -(x - decoded).abs().sum(-1) / scale - self.variables * math.log(2 * scale)
        constant = self.variables * (LOG_2PI + math.log(self.decoder_variance)) / 2
        return -(x - decoded).square().sum(-1) / (2 * self.decoder_variance) - constant

    def label_log_probs(self, x: Tensor, log_prior: Tensor | None = None) -> Tensor:
        """``log p(y | x)`` of every label, in nats, ``(*copies, N, K)``, by an approximation.

        ``p(x | y)`` is taken to be ``p(x, m | y) / q(m | x, y)`` at the posterior's mean m: Laplace's approximation,
        with the posterior's variances as the curvature. It is exact if the posterior is, and needs no draws.

        Args:
            x: rows.
            log_prior: ``log p(y)``, ``(K,)``; uniform if omitted.
        """
        each = torch.arange(self.conditions, device=x.device)
        scores = torch.stack([self._at_mean(x, label.expand(x.shape[-2])) for label in each], dim=-1)
        return (scores if log_prior is None else scores + log_prior).log_softmax(-1)

    def _at_mean(self, x: Tensor, y: Tensor) -> Tensor:
        return self.elbo(x, y, eps=x.new_zeros(*copies_shape(self.copies), len(y), self.latents))

    def marginal_features(self, x: Tensor, log_prior: Tensor | None = None) -> Tensor:
        """``sum_y p(y | x) m(x, y)``, ``(*copies, N, L)``: the features of rows whose label is not known.

        Args and the approximation: those of :meth:`label_log_probs`.
        """
        weights = self.label_log_probs(x, log_prior).exp()
        total = x.new_zeros(())
        for label, weight in enumerate(weights.unbind(-1)):
            total = total + weight.unsqueeze(-1) * self.features(x, torch.full((x.shape[-2],), label, device=x.device))
        return total


class IVAEDistribution(UnnormalizedDistribution):
    """The law of rows given labels under an :class:`IVAE`: it can be drawn from, its density is only bounded.

    Args:
        model: whose present parameters are used at every call.
        labels: one for each row, ``(N,)``.
    """

    support = constraints.real_vector

    def __init__(self, model: IVAE, labels: Tensor) -> None:
        self.model, self.labels = model, labels
        batch = torch.Size((*copies_shape(model.copies), len(labels)))
        super().__init__(batch, torch.Size((model.variables,)), validate_args=False)

    def unnormalized_log_prob(self, value: Tensor) -> Tensor:
        """Raises :class:`~logprob.distributions.IntractableError`: see :meth:`log_prob_bound`."""
        raise IntractableError("log p(x | y) is an expectation over latent variables; use log_prob_bound")

    def log_prob_bound(self, value: Tensor, samples: int = 1) -> Tensor:
        """Log of the mean of ``samples`` importance weights: in the mean at most ``log p(x | y)``, in nats.

        Raises:
            ValueError: if ``samples`` is below 1.
        """
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")
        each = torch.stack([self.model.elbo(value, self.labels) for _ in range(samples)])
        return each.logsumexp(0) - math.log(samples)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw z from the prior of each label, then a row."""
        with torch.no_grad():
            shape, model = torch.Size(sample_shape), self.model
            deviation = (model.prior_log_variance(self.labels) / 2).exp()  # (*copies, N, L)
            z = deviation * torch.randn(shape.numel(), *deviation.shape, dtype=model.dtype, device=deviation.device)
            decoded = torch.stack([model.decoder(each) for each in z]) if len(z) else z.new_zeros(0, *self._extended())
            return self._noisy(decoded).view(*shape, *self._extended())

    def _extended(self) -> torch.Size:
        return self.batch_shape + self.event_shape

    def _noisy(self, decoded: Tensor) -> Tensor:
        if self.model.likelihood == "bernoulli":
            return torch.bernoulli(decoded.sigmoid())
        if self.model.likelihood == "laplace":
            scale = decoded.new_tensor(math.sqrt(self.model.decoder_variance / 2))
            return torch.distributions.Laplace(decoded, scale, validate_args=False).sample()
        return decoded + math.sqrt(self.model.decoder_variance) * torch.randn_like(decoded)


class TwinLinear(nn.Module):
    """Two linear layers of one shape in one product, the axis of the two behind that of the copies.

    Args:
        inputs: number of inputs.
        outputs: number of outputs of each.
        copies: as in :class:`~logprob.nn.StackedLinear`.

    Shapes: rows ``(N, inputs)`` for all layers alike, or ``(*copies, 2, N, inputs)``, to ``(*copies, 2, N, outputs)``.

    Example:
        >>> TwinLinear(3, 2, copies=4)(torch.randn(5, 3)).shape
        torch.Size([4, 2, 5, 2])
    """

    def __init__(self, inputs: int, outputs: int, copies: int | None = None) -> None:
        super().__init__()
        self.inputs, self.outputs, self.copies = inputs, outputs, copies
        lead = (*copies_shape(copies), 2)
        self.weight = nn.Parameter(torch.empty(*lead, outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(*lead, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of both layers."""
        weight, bias = self.weight.flatten(0, -3), self.bias.flatten(0, -2)  # (2C, out, in), (2C, out)
        if x.dim() == 2:  # one product for all layers: they see the same rows
            both = functional.linear(x, weight.flatten(0, 1), bias.flatten())
            flat = both.view(len(x), len(bias), self.outputs).transpose(0, 1)
        else:
            flat = torch.baddbmm(bias.unsqueeze(-2), x.flatten(0, -3), weight.mT)
        return flat.view(*self.bias.shape[:-1], *flat.shape[-2:])


class TwinMLP(nn.Sequential):
    """Two multilayer perceptrons of one shape with leaky ReLUs, on the same rows.

    Args:
        inputs: number of inputs.
        outputs: number of outputs of each.
        hidden: widths of the hidden layers.
        copies: as in :class:`~logprob.nn.StackedLinear`.

    Shapes: rows ``(N, inputs)`` or ``(C, N, inputs)`` to ``(*copies, 2, N, outputs)``.

    Example:
        >>> TwinMLP(3, 2, hidden=(10, 10))(torch.randn(5, 3)).shape
        torch.Size([2, 5, 2])
    """

    def __init__(self, inputs: int, outputs: int, hidden: Sequence[int], copies: int | None = None) -> None:
        layers: list[nn.Module] = []
        for before, after in pairwise([inputs, *hidden]):
            layers += [TwinLinear(before, after, copies), nn.LeakyReLU(SLOPE)]
        super().__init__(*layers, TwinLinear([inputs, *hidden][-1], outputs, copies))

    def forward(self, input: Tensor) -> Tensor:
        """Outputs of both networks."""
        alike = input.dim() == 2
        output: Tensor = super().forward(input if alike else input.unsqueeze(-3).expand(-1, 2, -1, -1))
        return output


def _log_normal(z: Tensor, log_variance: Tensor) -> Tensor:
    """``log N(z; 0, exp(log_variance))`` summed over the last dimension."""
    squares = z.square() * (-log_variance).exp()
    return -(squares + log_variance).sum(-1) / 2 - z.shape[-1] * LOG_2PI / 2


def _start(layer: nn.Module) -> None:
    """Glorot's uniform weights for each network by itself, as published; biases stay on their default."""
    if isinstance(layer, TwinLinear | StackedLinear):
        bound = math.sqrt(6 / (layer.inputs + layer.outputs))
        nn.init.uniform_(layer.weight, -bound, bound)
        if layer.bias is not None:
            nn.init.uniform_(layer.bias, -1 / math.sqrt(layer.inputs), 1 / math.sqrt(layer.inputs))
