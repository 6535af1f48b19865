"""Studies: one command for a table that takes several trainings."""

from logprob.experiments.studies.base import Cell, Study, Workbench
from logprob.experiments.studies.pretraining import ImageEnergies
from logprob.experiments.studies.recovery import Method, Reading, RecoveryStudy
from logprob.experiments.studies.representation import RepresentationStudy
from logprob.experiments.studies.semi_supervised import SemiSupervisedStudy
from logprob.experiments.studies.transfer import TransferStudy

__all__ = [
    "Cell",
    "ImageEnergies",
    "Method",
    "Reading",
    "RecoveryStudy",
    "RepresentationStudy",
    "SemiSupervisedStudy",
    "Study",
    "TransferStudy",
    "Workbench",
]
