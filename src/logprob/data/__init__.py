"""Data sets: declared rules, checked files, splits and standardisation that travel with the results.

- generated: :class:`Synthetic2D`, sixteen planar laws with their true densities; :class:`GaussianNoise`;
  :class:`TerrainMaps` with their cheapest paths, :class:`GraphLayouts` of hidden trees, :class:`PlantedReviews`
- generated, with known sources to find: :class:`TCLSources`, :class:`IMCASources`, :class:`NonstationarySources`, and
  the functions of :mod:`logprob.data.ica` behind them
- with scikit-learn: :class:`Digits`, :class:`PermutedDigits`, :class:`OrderedDigits`, :class:`Wine`,
  :class:`BreastCancer`, real and on every machine
- from files: :class:`DEBD` (binary), :class:`IdxImages` (MNIST, Fashion-MNIST), :class:`CIFAR10`, :class:`CIFAR100`,
  :class:`DownsampledImageNet`, :class:`Omniglot`, :class:`Omniglot28`, :class:`CelebA`, :class:`Table` (your own)
- what a model sees of the images of another source: :class:`ScaledImages`, :class:`BinaryImages`,
  :class:`SampledBinaryImages`, :class:`ResizedImages`, :class:`LabelledImages`, :class:`ImageCompletion`
- changes of training images: :class:`RandomCrop`, :class:`FlipAndTranslate`
- from files, with a structure to find: :class:`WarcraftMaps`; :class:`BeerReviews` and :class:`Sentiment`, for whose
  words there is :func:`read_word_vectors`

Files are looked for in the folder given, in ``LOGPROB_DATA`` and in the cache folder; none is downloaded.
"""

from logprob.data.augmentation import Augmentation, FlipAndTranslate, RandomCrop
from logprob.data.base import Dataset, DataSource
from logprob.data.beer import BeerReviews
from logprob.data.bundled import BreastCancer, Digits, OrderedDigits, PermutedDigits, Wine
from logprob.data.celeba import CelebA
from logprob.data.cifar import CIFAR10
from logprob.data.cifar100 import CIFAR100
from logprob.data.completion import ImageCompletion, whole_images
from logprob.data.debd import DEBD
from logprob.data.files import CorruptDataError, MissingDataError, cache_dir, search_roots
from logprob.data.graph_layouts import GraphLayouts
from logprob.data.ica_record import NonlinearICA
from logprob.data.ica_sources import IMCASources, NonstationarySources, TCLSources
from logprob.data.idx import read_idx
from logprob.data.imagenet import DownsampledImageNet
from logprob.data.images import IdxImages
from logprob.data.labelled_images import LabelledImages
from logprob.data.noise import GaussianNoise
from logprob.data.omniglot import Omniglot
from logprob.data.omniglot28 import Omniglot28
from logprob.data.pixels import BinaryImages, PreparedImages, ResizedImages, SampledBinaryImages, ScaledImages
from logprob.data.planar_law import PlanarLaw
from logprob.data.planted import PlantedReviews
from logprob.data.sentiment import Sentiment
from logprob.data.splits import content_sha256
from logprob.data.synthetic import Synthetic2D
from logprob.data.tables import Table
from logprob.data.terrain_maps import TerrainMaps, WarcraftMaps
from logprob.data.word_vectors import read_word_vectors

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "DEBD",
    "Augmentation",
    "BeerReviews",
    "BinaryImages",
    "BreastCancer",
    "CelebA",
    "CorruptDataError",
    "DataSource",
    "Dataset",
    "Digits",
    "DownsampledImageNet",
    "FlipAndTranslate",
    "GaussianNoise",
    "GraphLayouts",
    "IMCASources",
    "IdxImages",
    "ImageCompletion",
    "LabelledImages",
    "MissingDataError",
    "NonlinearICA",
    "NonstationarySources",
    "Omniglot",
    "Omniglot28",
    "OrderedDigits",
    "PermutedDigits",
    "PlanarLaw",
    "PlantedReviews",
    "PreparedImages",
    "RandomCrop",
    "ResizedImages",
    "SampledBinaryImages",
    "ScaledImages",
    "Sentiment",
    "Synthetic2D",
    "TCLSources",
    "Table",
    "TerrainMaps",
    "WarcraftMaps",
    "Wine",
    "cache_dir",
    "content_sha256",
    "read_idx",
    "read_word_vectors",
    "search_roots",
    "whole_images",
]
