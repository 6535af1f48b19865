"""Plain networks; they know nothing of the models that use them."""

from logprob.nn.convolutional import ConvDecoder, ConvEncoder, Padding
from logprob.nn.masked import MaskedMLP
from logprob.nn.mlp import MLP, Nonlinearity, SignedMLP
from logprob.nn.start import Start, start_from

__all__ = [
    "MLP",
    "ConvDecoder",
    "ConvEncoder",
    "MaskedMLP",
    "Nonlinearity",
    "Padding",
    "SignedMLP",
    "Start",
    "start_from",
]
