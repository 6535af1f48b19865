"""Noise that is known in advance."""

from __future__ import annotations

from logprob.discrete.noise import Gumbel, Noise


class Given(Noise):
    """Numbers, whatever shape is asked for, with the density of a law."""

    mean = std = 0.0

    def __init__(self, numbers, law=Gumbel()) -> None:  # noqa: B008  (frozen)
        self.numbers, self.law = numbers, law

    def sample(self, shape, *, dtype=None, **_):
        return self.numbers.reshape(shape).to(dtype)

    def log_prob(self, noise):
        return self.law.log_prob(noise)

    def score(self, noise):
        return self.law.score(noise)
