"""Predictions from k tokens: padding, what the predictor sees, and every gradient."""

from __future__ import annotations

import pytest
import torch

from logprob.discrete.by_perturbation import ByPerturbation
from logprob.discrete.implicit import AIMLE
from logprob.discrete.selective_predictor import MARGIN, SelectivePredictor
from logprob.discrete.straight_through import StraightThroughMarginals
from logprob.nn import MLP, MaskedMeanPredictor, TokenSelector, WordVectors
from logprob.objectives import Batch
from logprob.objectives.selection import SelectionLoss
from logprob.testing import check_objective


def model_of(k=2):
    return SelectivePredictor(
        50,
        k,
        lambda words: WordVectors(words, 8),
        lambda dimensions: TokenSelector(dimensions, hidden=16, dropout=0.0),
        lambda dimensions: MaskedMeanPredictor(dimensions, hidden=8),
    )


def texts(number=8, length=7, padding=2):
    x = torch.randint(1, 50, (number, length))
    x[:, :padding] = 0
    return x


def test_padding_is_not_selected():
    x = texts()
    model = model_of()
    z = model.selection(x).sample((100,))
    assert not z[..., :2].any()
    assert (z.sum(-1) == 2).all()
    scores = model.scores(x)
    assert (scores[:, :2] <= scores[:, 2:].amin(-1, keepdim=True) - MARGIN).all()


def test_padding_that_is_needed_says_nothing():
    """One token, two to look at."""
    model, x = model_of(), texts(3, 7, 6)
    z = model.selection(x).sample()
    assert (z.sum(-1) == 2).all()
    expected = model.predictor(model.words(x[:, -1:]), torch.full((3, 1), 0.5))
    torch.testing.assert_close(model.predict(x, z), expected)


def test_the_prediction_sees_the_selected_tokens_only():
    model, x = model_of(), texts(1, 7, 0)
    z = torch.tensor([[0.0, 1, 0, 0, 1, 0, 0]])
    other = x.clone()
    other[z == 0] = 1
    torch.testing.assert_close(model.predict(x, z), model.predict(other, z))


def test_every_gradient_trains():
    batch = Batch(texts(), target=torch.rand(8))
    check_objective(SelectionLoss(StraightThroughMarginals(), samples=3), model_of, batch)
    model = model_of()
    SelectionLoss(ByPerturbation(AIMLE()), samples=3)(model, batch).value.backward()
    assert all(parameter.grad.any() for parameter in model.parameters())


def test_the_loss_is_the_squared_error():
    model, x = model_of(7), texts(4, 7, 0)  # all tokens are selected
    target = torch.rand(4, 1)
    loss = SelectionLoss(StraightThroughMarginals(), samples=2)(model, Batch(x, target=target))
    expected = (model.predict(x, torch.ones(4, 7)) - target.squeeze(-1)).square().mean()
    torch.testing.assert_close(loss.value, expected)
    torch.testing.assert_close(loss.metrics["squared_error"], expected.detach())


def test_it_learns_which_token_tells():
    """One of the first five tokens is 2 or 3, which is the target; without it the error is 0.25. Adam, 300 steps."""
    torch.manual_seed(0)
    model = model_of(1)
    objective, optimizer = SelectionLoss(StraightThroughMarginals()), torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(300):
        x = torch.randint(4, 50, (64, 6))
        place, target = torch.randint(0, 5, (64,)), torch.randint(0, 2, (64,))
        x[torch.arange(64), place] = 2 + target
        optimizer.zero_grad()
        objective(model, Batch(x, target=target.float())).value.backward()
        optimizer.step()
    prediction = model.predict(x, model.selection(x).mode)
    assert (prediction - target).square().mean() < 0.1


def test_what_does_not_fit_is_refused():
    model = model_of()
    model.initialize(texts())
    for wrong in (texts().float(), texts() + 50, texts(length=1, padding=0)):
        with pytest.raises(ValueError, match="2 or more integers from 0 to 49"):
            model.initialize(wrong)
    with pytest.raises(ValueError, match="needs texts, got none"):
        model()
    objective = SelectionLoss(StraightThroughMarginals())
    for target in (None, torch.rand(8, 2)):
        with pytest.raises(ValueError, match=r"target of shape \(8,\)"):
            objective(model, Batch(texts(), target=target))
    with pytest.raises(TypeError, match="selects nothing"):
        objective(MLP(3, 3), Batch(texts(), target=torch.rand(8)))
    with pytest.raises(ValueError, match="k must be at least 1"):
        model_of(0)
    with pytest.raises(ValueError, match="samples must be at least 1"):
        SelectionLoss(StraightThroughMarginals(), 0)
