"""Data sets: declared rules, checked files, splits and standardisation that travel with the results."""

from logprob.data.base import Dataset, DataSource

__all__ = ["DataSource", "Dataset"]
