"""Data sets: declared rules, checked files, splits and standardisation that travel with the results.

- generated: :class:`Synthetic2D`, nine planar laws with their true densities
- with scikit-learn: :class:`Digits`, :class:`Wine`, :class:`BreastCancer`, real and on every machine
- from files: :class:`DEBD` (binary), :class:`IdxImages` (MNIST, Fashion-MNIST), :class:`Table` (your own)

Files are looked for in the folder given, in ``LOGPROB_DATA`` and in the cache folder; none is downloaded.
"""

from logprob.data.base import Dataset, DataSource
from logprob.data.bundled import BreastCancer, Digits, Wine
from logprob.data.debd import DEBD
from logprob.data.files import CorruptDataError, MissingDataError, cache_dir, search_roots
from logprob.data.idx import read_idx
from logprob.data.images import IdxImages
from logprob.data.planar import PlanarLaw
from logprob.data.splits import content_sha256
from logprob.data.synthetic import Synthetic2D
from logprob.data.tables import Table

__all__ = [
    "DEBD",
    "BreastCancer",
    "CorruptDataError",
    "DataSource",
    "Dataset",
    "Digits",
    "IdxImages",
    "MissingDataError",
    "PlanarLaw",
    "Synthetic2D",
    "Table",
    "Wine",
    "cache_dir",
    "content_sha256",
    "read_idx",
    "search_roots",
]
