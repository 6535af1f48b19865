"""Reparameterised laws on the simplex, near one-hot at low temperature."""

from logprob.simplex.relaxed import RelaxedOneHot

__all__ = ["RelaxedOneHot"]
