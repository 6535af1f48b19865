"""Plain networks; they know nothing of the models that use them."""

from logprob.nn.batch_norm_mlp import BatchNormMLP, NormalizedMLP, StackedBatchNorm
from logprob.nn.convolutional import ConvDecoder, ConvEncoder, Padding
from logprob.nn.image_energies import ConvMLP, FullMLP
from logprob.nn.map_networks import FlattenedImages, PureConvNet
from logprob.nn.masked import MaskedMLP
from logprob.nn.message_passing import EdgeDecoder, EdgeEncoder, directed_edges
from logprob.nn.mlp import MLP, Nonlinearity, SignedMLP
from logprob.nn.positional import FreeOutputs, PositionalEncoding, PositionalMLP
from logprob.nn.refinenet import InstanceNormPlus, RefineNet
from logprob.nn.residual import CostNetwork, ResNet18
from logprob.nn.separate import SeparateMLPs
from logprob.nn.stacked import Maxout, StackedLinear, StackedMaxout, StackedMLP, take_copy
from logprob.nn.start import Start, start_from
from logprob.nn.token_selector import MaskedMeanPredictor, TokenSelector
from logprob.nn.word_vectors import LearnedWordVectors, WordVectors

__all__ = [
    "MLP",
    "BatchNormMLP",
    "ConvDecoder",
    "ConvEncoder",
    "ConvMLP",
    "CostNetwork",
    "EdgeDecoder",
    "EdgeEncoder",
    "FlattenedImages",
    "FreeOutputs",
    "FullMLP",
    "InstanceNormPlus",
    "LearnedWordVectors",
    "MaskedMLP",
    "MaskedMeanPredictor",
    "Maxout",
    "Nonlinearity",
    "NormalizedMLP",
    "Padding",
    "PositionalEncoding",
    "PositionalMLP",
    "PureConvNet",
    "RefineNet",
    "ResNet18",
    "SeparateMLPs",
    "SignedMLP",
    "StackedBatchNorm",
    "StackedLinear",
    "StackedMLP",
    "StackedMaxout",
    "Start",
    "TokenSelector",
    "WordVectors",
    "directed_edges",
    "start_from",
    "take_copy",
]
