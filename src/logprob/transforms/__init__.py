"""Invertible maps that more than one room uses."""

from logprob.transforms.affine import Affine
from logprob.transforms.base import Transform

__all__ = ["Affine", "Transform"]
