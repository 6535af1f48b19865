"""Normalizing flows: self-normalizing layers whose training needs no determinant, and the exact ones beside them."""

from logprob.flows.activations import SELU, Identity, LeakyReLU, LearnableLeakyReLU, SmoothLeakyReLU, SmoothTanh
from logprob.flows.autoregressive import Autoregressive
from logprob.flows.base import (
    Energy,
    FlowLayer,
    FlowTransform,
    InverseMethod,
    Penalty,
    Surrogate,
    SurrogateOptions,
    synchronize,
)
from logprob.flows.bases import ConditionalNormal, StandardLaplace, StandardLogistic, StandardNormal, StandardUniform
from logprob.flows.constant_affine import ConstantAffine
from logprob.flows.convolution import SelfNormalizingConv2d
from logprob.flows.convolutional import ConvolutionalFlow
from logprob.flows.coupling import AffineCoupling2d
from logprob.flows.dense import DenseFlow
from logprob.flows.dequantization import Dequantized, DequantizedDistribution
from logprob.flows.dequantization_noise import DequantizationNoise, UniformNoise, VariationalNoise
from logprob.flows.element_maps import AffineMap, ElementMap, PublishedSplineMap, ShiftMap, SplineMap
from logprob.flows.emerging import AutoregressiveConv2d, EmergingConv2d, Flip
from logprob.flows.exponential import BiasMap, ConvolutionExponential, ExponentialConv2d
from logprob.flows.flow import Flow, FlowDistribution, SurrogateLogProb
from logprob.flows.glow import Glow
from logprob.flows.inverse_kernel import fourier_inverse_kernel, least_squares_inverse_kernel
from logprob.flows.linear import SelfNormalizingLinear
from logprob.flows.lu_linear import ConditionalLULinear, LULinear
from logprob.flows.mixing import Conv1x1, HouseholderConv1x1, LUConv1x1
from logprob.flows.monitors import InverseMonitor, LayerReport, monitor
from logprob.flows.neural_spline_flow import NeuralSplineFlow
from logprob.flows.normalization import ActNorm
from logprob.flows.preprocessing import Logit, Normalize, PixelLogits, Scale, Sigmoid, Squash
from logprob.flows.realnvp import RealNVP
from logprob.flows.reshape import Flatten, Squeeze, Unflatten, Unsqueeze
from logprob.flows.sequential import Sequential
from logprob.flows.spline import rational_quadratic_spline
from logprob.flows.spline_activation import RationalQuadraticSpline, activation
from logprob.flows.split import Split
from logprob.flows.vector_coupling import Coupling, Permutation

__all__ = [
    "SELU",
    "ActNorm",
    "AffineCoupling2d",
    "AffineMap",
    "Autoregressive",
    "AutoregressiveConv2d",
    "BiasMap",
    "ConditionalLULinear",
    "ConditionalNormal",
    "ConstantAffine",
    "Conv1x1",
    "ConvolutionExponential",
    "ConvolutionalFlow",
    "Coupling",
    "DenseFlow",
    "DequantizationNoise",
    "Dequantized",
    "DequantizedDistribution",
    "ElementMap",
    "EmergingConv2d",
    "Energy",
    "ExponentialConv2d",
    "Flatten",
    "Flip",
    "Flow",
    "FlowDistribution",
    "FlowLayer",
    "FlowTransform",
    "Glow",
    "HouseholderConv1x1",
    "Identity",
    "InverseMethod",
    "InverseMonitor",
    "LUConv1x1",
    "LULinear",
    "LayerReport",
    "LeakyReLU",
    "LearnableLeakyReLU",
    "Logit",
    "NeuralSplineFlow",
    "Normalize",
    "Penalty",
    "Permutation",
    "PixelLogits",
    "PublishedSplineMap",
    "RationalQuadraticSpline",
    "RealNVP",
    "Scale",
    "SelfNormalizingConv2d",
    "SelfNormalizingLinear",
    "Sequential",
    "ShiftMap",
    "Sigmoid",
    "SmoothLeakyReLU",
    "SmoothTanh",
    "SplineMap",
    "Split",
    "Squash",
    "Squeeze",
    "StandardLaplace",
    "StandardLogistic",
    "StandardNormal",
    "StandardUniform",
    "Surrogate",
    "SurrogateLogProb",
    "SurrogateOptions",
    "Unflatten",
    "UniformNoise",
    "Unsqueeze",
    "VariationalNoise",
    "activation",
    "fourier_inverse_kernel",
    "least_squares_inverse_kernel",
    "monitor",
    "rational_quadratic_spline",
    "synchronize",
]
