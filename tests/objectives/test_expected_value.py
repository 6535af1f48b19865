"""Three coins that learn to fall on the sides that cost least."""

from __future__ import annotations

import itertools

import pytest
import torch

from logprob.batch import Batch
from logprob.gradients import DisARM, Enumeration, LeaveOneOut, RunningMean, ScoreFunction
from logprob.objectives.expected_value import ExpectedLoss, SquaredDistance
from logprob.simplex.concrete_variables import ConcreteVariables
from logprob.simplex.rebar import REBAR
from logprob.simplex.relax import RELAX, ControlNetwork
from logprob.testing import check_objective

TARGETS = (1.0, 0.4, 0.0)
ROW = Batch(torch.zeros(1, 1))
ESTIMATORS = {
    "enumeration": Enumeration,
    "score function": lambda: ScoreFunction(RunningMean()),
    "leave-one-out": LeaveOneOut,
    "DisARM": DisARM,
    "REBAR": lambda: REBAR(temperature=1.0, count=3),
    "RELAX": lambda: RELAX(ControlNetwork(3, 2), temperature=1.0),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_coins_learn(name):
    model, function = ConcreteVariables(3, 2), SquaredDistance(TARGETS)
    objective = ExpectedLoss(function, ESTIMATORS[name](), samples=2)
    optimizer = torch.optim.Adam([*model.parameters(), *objective.parameters()], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        objective(model, ROW).value.backward()
        optimizer.step()
    expected = Enumeration()(model(), function).item()
    assert 0.16 < expected < 0.25  # the best outcome is (1, 0, 0), which costs 0.4^2
    assert (model().probs[:, 1] > 0.5).tolist() == [True, False, False]


def test_the_expectation_is_that_of_all_outcomes():
    model, function = ConcreteVariables(3, 2), SquaredDistance(TARGETS)
    with torch.no_grad():
        model.logits.normal_()
    probs = model().probs
    total = sum(
        torch.stack([probs[v, b] for v, b in enumerate(bits)]).prod()
        * sum((b - t) ** 2 for b, t in zip(bits, TARGETS, strict=True))
        for bits in itertools.product((0, 1), repeat=3)
    )
    torch.testing.assert_close(ExpectedLoss(function, Enumeration())(model, ROW).value, total)


def test_objective_contract():
    check_objective(ExpectedLoss(SquaredDistance(TARGETS), REBAR()), lambda: ConcreteVariables(3, 2), ROW)


def test_errors_say_what_came():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        ExpectedLoss(SquaredDistance(TARGETS), REBAR(), samples=0)
    with pytest.raises(ValueError, match=r"expected \(\.\.\., 3, 2\), got \(3, 4\)"):
        SquaredDistance(TARGETS)(torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"got 3, 1 and 0\.5"):
        ConcreteVariables(3, 1)
