"""Relaxed one-hot samples, their divergences and what hangs on them, beside torch and Pyro.

All sides take turns in one process after a round of warm-up, and the minimum of each is kept: noise of a shared machine
only adds. Every step makes its distribution anew, as a training step does, and uses one thread.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from importlib.metadata import version

import torch
import torch.nn.functional as F
from timing import Step, processor, take_turns
from torch import Tensor, nn
from torch.distributions import Distribution, RelaxedOneHotCategorical, kl_divergence
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical

from logprob.simplex import Concrete, InvertibleGaussian

try:
    from pyro.distributions import RelaxedOneHotCategorical as PyroRelaxed
except ModuleNotFoundError:
    PyroRelaxed = None

PIXELS, HIDDEN_VARIABLES, CATEGORIES, BATCH = 784, 20, 10, 64
Law = Callable[[], Distribution]
OURS, OURS_CONCRETE = "InvertibleGaussian (closed KL)", "Concrete (sampled KL)"
TORCH, GUMBEL = "torch RelaxedOneHotCategorical", "F.gumbel_softmax"


class Laws:
    """The contenders at one size; each method makes posterior and prior by name.

    Args:
        shape: of the batch, without categories.
        categories: K.
        temperature: of all laws.
    """

    def __init__(self, shape: tuple[int, ...], categories: int, temperature: float) -> None:
        self.tau, self.number = torch.tensor(temperature), temperature
        self.logits = torch.randn(*shape, categories, requires_grad=True)
        self.loc = torch.randn(*shape, categories - 1, requires_grad=True)
        self.log_scale = (0.3 * torch.randn(*shape, categories - 1)).requires_grad_()
        self.flat = torch.zeros(categories)
        self.weights = torch.randn(*shape, categories)
        self.prior = InvertibleGaussian.uniform(categories, temperature=temperature)

    def torch_like(self, kind: type, validate: bool) -> tuple[Law, Law]:
        """Posterior and uniform prior of a class with torch's arguments."""

        def make(logits: Tensor) -> Distribution:
            law: Distribution = kind(self.tau, logits=logits, validate_args=validate)
            return law

        return lambda: make(self.logits), lambda: make(self.flat)

    def all(self) -> dict[str, tuple[Law, Law]]:
        """Posterior and prior of each contender."""
        named: dict[str, tuple[Law, Law]] = {
            OURS: (
                lambda: InvertibleGaussian(self.loc, self.log_scale, self.number, validate_args=False),
                lambda: self.prior,
            ),
            "InvertibleGaussian, validated": (
                lambda: InvertibleGaussian(self.loc, self.log_scale, self.number, validate_args=True),
                lambda: self.prior,
            ),
            OURS_CONCRETE: (
                lambda: Concrete(self.number, self.logits, validate_args=False),
                lambda: Concrete(self.number, self.flat, validate_args=False),
            ),
            TORCH: self.torch_like(RelaxedOneHotCategorical, False),
            "torch RelaxedOneHot..., validated": self.torch_like(RelaxedOneHotCategorical, True),
            "torch ExpRelaxedCategorical": self.torch_like(ExpRelaxedCategorical, False),
            "torch ExpRelaxedCategorical, validated": self.torch_like(ExpRelaxedCategorical, True),
        }
        if PyroRelaxed is not None:
            named["Pyro RelaxedOneHotCategorical"] = self.torch_like(PyroRelaxed, False)
        return named

    def clear(self) -> None:
        """Forget gradients."""
        for parameter in (self.logits, self.loc, self.log_scale):
            parameter.grad = None


def sampling(laws: Laws) -> dict[str, Step]:
    """Constructor and rsample, with a graph."""
    steps: dict[str, Step] = {name: _rsample(posterior) for name, (posterior, _) in laws.all().items()}
    steps[GUMBEL] = lambda: F.gumbel_softmax(laws.logits, laws.number)
    return steps


def _rsample(law: Law) -> Step:
    return lambda: law().rsample()


def with_divergence(laws: Laws) -> dict[str, Step]:
    """Constructor, rsample, divergence, and the backward pass of ``sum(weights psi) + sum(KL)``."""
    return {name: _with_divergence(laws, posterior, prior) for name, (posterior, prior) in laws.all().items()}


def _with_divergence(laws: Laws, posterior: Law, prior: Law) -> Step:
    def step() -> None:
        laws.clear()
        q, p = posterior(), prior()
        z = q.rsample()
        ((laws.weights * z).sum() + divergence(q, p, z).sum()).backward()

    return step


def divergence(q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    """Closed where there is such a form, of one sample otherwise."""
    if isinstance(q, InvertibleGaussian):
        return kl_divergence(q, p)
    if isinstance(q, Concrete):
        return q.log_ratio(p, z)
    log_ratio: Tensor = q.log_prob(z) - p.log_prob(z)
    return log_ratio


class Autoencoder(nn.Module):
    """784 pixels, one linear layer each way, 20 variables of 10 categories, and Adam.

    Args:
        fused: whether Adam is one kernel.
    """

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.encoder = nn.Linear(PIXELS, 2 * HIDDEN_VARIABLES * (CATEGORIES - 1))
        self.decoder = nn.Linear(HIDDEN_VARIABLES * CATEGORIES, PIXELS)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=1e-3, fused=fused)
        self.prior = InvertibleGaussian.uniform(CATEGORIES, temperature=0.5)

    def posterior(self, x: Tensor) -> InvertibleGaussian:
        """Approximate posterior of rows of pixels."""
        numbers = self.encoder(x).view(-1, 2, HIDDEN_VARIABLES, CATEGORIES - 1)
        return InvertibleGaussian(numbers[:, 0], numbers[:, 1], 0.5, validate_args=False)

    def step(self, x: Tensor) -> None:
        """Negative ELBO of a batch, backward, update."""
        self.optimizer.zero_grad()
        q = self.posterior(x)
        logits = self.decoder(q.rsample().flatten(1))
        reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        ((reconstruction + kl_divergence(q, self.prior).sum()) / len(x)).backward()
        self.optimizer.step()


def training() -> dict[str, Step]:
    """A step of the dense autoencoder."""
    x = torch.bernoulli(torch.full((BATCH, PIXELS), 0.3))
    models = {f"dense step, Adam(fused={fused})": Autoencoder(fused) for fused in (False, True)}
    return {name: _train(model, x) for name, model in models.items()}


def _train(model: Autoencoder, x: Tensor) -> Step:
    return lambda: model.step(x)


def categories() -> dict[str, Step]:
    """Category probabilities of many laws, and laws of given probabilities."""
    many = InvertibleGaussian(torch.randn(1000, 9), 0.3 * torch.randn(1000, 9), 0.5)
    ten = torch.tensor([10.0, 1, 5, 1, 10, 10, 1, 6, 1, 1]).double() / 46
    k = torch.arange(13).double()
    binomial = torch.distributions.Binomial(12, torch.tensor(0.3).double()).log_prob(k).exp()
    counts = torch.distributions.Poisson(torch.tensor(50.0).double()).log_prob(torch.arange(100).double()).exp()
    return {
        "probs of 1,000 laws, K = 10": lambda: many.probs,
        "from_probs, K = 10": lambda: InvertibleGaussian.from_probs(ten),
        "from_probs, Binomial(12, .3), K = 13": lambda: InvertibleGaussian.from_probs(binomial),
        "from_probs, Poisson(50), K = 100": lambda: InvertibleGaussian.from_probs(counts / counts.sum()),
    }


def report(title: str, steps: dict[str, Step], rounds: int, ours: str | None = None, repeats: int = 1) -> None:
    """Minimum of each, and how many times as long as ours it takes; what refuses to run is named."""
    refused = [name for name, step in steps.items() if not runs(step)]
    steps = {name: step for name, step in steps.items() if name not in refused}
    least = {name: min(turns) for name, turns in take_turns(steps, rounds, repeats).items()}
    print(f"\n{title:42}{'CPU ms':>9}{'/ ours':>9}")
    for name, milliseconds in least.items():
        ratio = f"{milliseconds / least[ours]:9.2f}" if ours else ""
        print(f"{name:42}{milliseconds:9.2f}{ratio}")
    for name in refused:
        print(f"{name:42}  ValueError: a sample of its own is not on the simplex, by its check")


def runs(step: Step) -> bool:
    """Whether a step raises no ValueError; torch checks sums to 1e-6, which its float32 samples can miss."""
    try:
        step()
    except ValueError:
        return False
    return True


def parse_arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--batch", type=int, default=4096, help="rows")
    parser.add_argument("--variables", type=int, default=30, help="variables of a row")
    parser.add_argument("--categories", type=int, default=10, help="categories of a variable, at least 2")
    parser.add_argument("--temperature", type=float, default=0.5, help="of all laws")
    parser.add_argument("--rounds", type=int, default=12, help="alternations between the sides")
    arguments = parser.parse_args()
    if arguments.categories < 2 or arguments.rounds < 1:
        parser.error("expected at least 2 categories and 1 round")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    names = ["logprob", "torch"] + (["pyro-ppl"] if PyroRelaxed is not None else [])
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    print(f"{packages}, Python {platform.python_version()}, 1 thread of {processor()}")
    shape = (arguments.batch, arguments.variables)
    size = " x ".join(map(str, (*shape, arguments.categories)))
    print(f"{size}, float32, temperature {arguments.temperature}, minimum of {arguments.rounds}")
    laws = Laws(shape, arguments.categories, arguments.temperature)
    report("constructor and rsample", sampling(laws), arguments.rounds, OURS)
    report("rsample, KL, forward and backward", with_divergence(laws), arguments.rounds, OURS)
    report(f"{PIXELS} - {HIDDEN_VARIABLES} x {CATEGORIES} - {PIXELS}, batch {BATCH}, minimum of 60", training(), 60)
    report("categories, minimum of 5", categories(), 5)


if __name__ == "__main__":
    main()
