"""Studies: one command for a table that takes several trainings."""

from logprob.experiments.studies.base import Cell, Study, Workbench

__all__ = ["Cell", "Study", "Workbench"]
