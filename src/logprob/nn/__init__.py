"""Plain networks; they know nothing of the models that use them."""

from logprob.nn.masked import MaskedMLP
from logprob.nn.mlp import MLP, Nonlinearity

__all__ = ["MLP", "MaskedMLP", "Nonlinearity"]
