"""Data sets: declared rules, checked files, splits and standardisation that travel with the results.

- generated: :class:`Synthetic2D`, sixteen planar laws with their true densities; :class:`GaussianNoise`
- with scikit-learn: :class:`Digits`, :class:`PermutedDigits`, :class:`OrderedDigits`, :class:`Wine`,
  :class:`BreastCancer`, real and on every machine
- from files: :class:`DEBD` (binary), :class:`IdxImages` (MNIST, Fashion-MNIST), :class:`CIFAR10`,
  :class:`DownsampledImageNet`, :class:`Omniglot`, :class:`Omniglot28`, :class:`CelebA`, :class:`Table` (your own)
- what a model sees of the images of another source: :class:`ScaledImages`, :class:`BinaryImages`,
  :class:`SampledBinaryImages`, :class:`ResizedImages`, :class:`ImageCompletion`
- changes of training images: :class:`RandomCrop`, :class:`FlipAndTranslate`

Files are looked for in the folder given, in ``LOGPROB_DATA`` and in the cache folder; none is downloaded.
"""

from logprob.data.augmentation import Augmentation, FlipAndTranslate, RandomCrop
from logprob.data.base import Dataset, DataSource
from logprob.data.bundled import BreastCancer, Digits, OrderedDigits, PermutedDigits, Wine
from logprob.data.celeba import CelebA
from logprob.data.cifar import CIFAR10
from logprob.data.completion import ImageCompletion, whole_images
from logprob.data.debd import DEBD
from logprob.data.files import CorruptDataError, MissingDataError, cache_dir, search_roots
from logprob.data.idx import read_idx
from logprob.data.imagenet import DownsampledImageNet
from logprob.data.images import IdxImages
from logprob.data.noise import GaussianNoise
from logprob.data.omniglot import Omniglot
from logprob.data.omniglot28 import Omniglot28
from logprob.data.pixels import BinaryImages, PreparedImages, ResizedImages, SampledBinaryImages, ScaledImages
from logprob.data.planar_law import PlanarLaw
from logprob.data.splits import content_sha256
from logprob.data.synthetic import Synthetic2D
from logprob.data.tables import Table

__all__ = [
    "CIFAR10",
    "DEBD",
    "Augmentation",
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
    "IdxImages",
    "ImageCompletion",
    "MissingDataError",
    "Omniglot",
    "Omniglot28",
    "OrderedDigits",
    "PermutedDigits",
    "PlanarLaw",
    "PreparedImages",
    "RandomCrop",
    "ResizedImages",
    "SampledBinaryImages",
    "ScaledImages",
    "Synthetic2D",
    "Table",
    "Wine",
    "cache_dir",
    "content_sha256",
    "read_idx",
    "search_roots",
    "whole_images",
]
