"""Flow-contrastive estimation: gradients of both sides, turns, caches, a game that ends at the truth."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from objectives.contrast_cases import GaussianEnergy, LabelledNormal, LearnedNormal
from torch import nn

from logprob.batch import Batch
from logprob.distributions import DistributionModule
from logprob.energy import ConditionalEnergy, ContrastivePair, UnconditionalEnergy
from logprob.experiments.fit import Fit
from logprob.experiments.schema import Phase
from logprob.experiments.stopping import Monitor
from logprob.flows import NeuralSplineFlow
from logprob.metrics import ContrastiveAccuracy
from logprob.nn import MLP
from logprob.objectives import Alternation, FlowContrastive


class LawEnergy(DistributionModule):
    """u = log p of a law of its own, whatever the label."""

    def __init__(self, law):
        super().__init__()
        self.law = law

    def forward(self, context=None):
        return Unnormalized(self.law())


class Unnormalized:
    def __init__(self, law):
        self.unnormalized_log_prob = law.log_prob


def at_flow_turn(**arguments):
    objective = FlowContrastive(**arguments)
    objective.turns = Alternation(first="flow")
    return objective


def flow_gradient(pair, x, **arguments):
    pair.zero_grad()
    torch.manual_seed(1)
    at_flow_turn(**arguments)(pair, Batch(x)).value.backward()
    return torch.cat([parameter.grad.flatten() for parameter in pair.noise.parameters()])


def test_where_the_energy_is_the_log_density_both_rules_have_the_gradient_of_the_derivation():
    """(E_noise - E_data) grad log q / 2: the path through the samples adds nothing where l = 0 everywhere."""
    torch.manual_seed(0)
    flow = NeuralSplineFlow(2, transforms=2, hidden=(8,)).double()
    for parameter in flow.parameters():
        nn.init.normal_(parameter, std=0.3)
    pair = ContrastivePair(LawEnergy(copy.deepcopy(flow)), flow)
    x = torch.randn(50, 2, dtype=torch.float64)
    torch.manual_seed(1)
    noise = flow().sample((50,))
    flow.zero_grad()
    ((flow().log_prob(noise).mean() - flow().log_prob(x).mean()) / 2).backward()
    expected = torch.cat([parameter.grad.flatten() for parameter in flow.parameters()])
    for rule in ("samples", "detached"):
        torch.testing.assert_close(flow_gradient(pair, x, rule=rule, mle_weight=0.0), expected)


def test_away_from_it_the_rules_differ_and_the_first_is_the_gradient_of_the_value():
    torch.manual_seed(0)
    pair = ContrastivePair(LawEnergy(LearnedNormal(2)), LearnedNormal(2)).double()
    nn.init.normal_(pair.noise.loc)
    x = 2 * torch.randn(40, 2, dtype=torch.float64)
    samples = flow_gradient(pair, x, mle_weight=0.5, ratio=3)
    assert pair.energy.law.loc.grad is None
    assert not torch.allclose(samples, flow_gradient(pair, x, mle_weight=0.5, ratio=3, rule="detached"))

    def value():
        torch.manual_seed(1)
        with torch.no_grad():
            return at_flow_turn(mle_weight=0.5, ratio=3)(pair, Batch(x)).value

    step, numbers = 1e-6, []
    for parameter in pair.noise.parameters():
        for index in range(2):
            with torch.no_grad():
                parameter[index] += step
                above = value()
                parameter[index] -= 2 * step
                numbers.append((above - value()) / (2 * step))
                parameter[index] += step
    torch.testing.assert_close(samples, torch.stack(numbers), rtol=1e-5, atol=1e-7)


def test_who_rests_takes_no_gradient_and_keeps_taking_them_later():
    pair = ContrastivePair(GaussianEnergy(2, 2), LearnedNormal(2))
    batch = Batch(torch.randn(10, 2), torch.randint(2, (10,)))
    FlowContrastive()(pair, batch).value.backward()
    assert pair.energy.offset.grad is not None
    assert pair.noise.loc.grad is None
    pair.zero_grad()
    at_flow_turn()(pair, batch).value.backward()
    assert pair.energy.offset.grad is None
    assert pair.noise.loc.grad is not None
    assert all(parameter.requires_grad for parameter in pair.parameters())


def test_a_flow_given_labels():
    class Flow(LabelledNormal):
        def __init__(self):
            super().__init__([1.0, 2.0], 2)
            self.scales = nn.Parameter(self._buffers.pop("scales"))

    pair = ContrastivePair(GaussianEnergy(2, 2), Flow())
    objective = at_flow_turn(given_labels=True, ratio=2)
    loss = objective(pair, Batch(torch.randn(10, 2), torch.randint(2, (10,))))
    loss.value.backward()
    assert pair.noise.scales.grad.isfinite().all()


def test_the_game_ends_at_the_density_of_the_data():
    """By the value alone, without likelihood: both sides reach N(mean, diag) in two dimensions."""
    torch.manual_seed(0)
    mean, deviation = torch.tensor([1.0, -0.5]), torch.tensor([2.0, 0.5])
    x = mean + deviation * torch.randn(20_000, 2)

    class Quadratic(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(5, 1)

        def forward(self, x):
            return self.linear(torch.cat([x, x.square(), x.prod(-1, keepdim=True)], -1))

    pair = ContrastivePair(UnconditionalEnergy(Quadratic()), LearnedNormal(2))
    objective = FlowContrastive(mle_weight=0.0, energy_steps=100, flow_steps=50, check_every=25)
    rows = objective.prepare(pair, Batch(x))
    optimizer = torch.optim.Adam(pair.parameters(), 1e-2)
    for step in range(2500):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 if step < 1500 else 1e-3
        optimizer.zero_grad()
        objective(pair, rows.rows(torch.randint(len(rows.x), (512,)))).value.backward()
        optimizer.step()
    truth = torch.distributions.Independent(torch.distributions.Normal(mean, deviation), 1)
    held = truth.sample((2000,))
    with torch.no_grad():
        for log_prob in (pair.noise().log_prob(held), pair().unnormalized_log_prob(held)):
            assert (log_prob - truth.log_prob(held)).abs().mean() < 0.1
    assert {entry["side"] for entry in objective.history} == {"energy", "flow"}
    assert objective.history[-1]["marginal_accuracy"] == pytest.approx(0.5, abs=0.03)


def test_turns_follow_the_accuracy_and_their_lengths():
    turns = Alternation(margin=0.04, energy_steps=3, flow_steps=2)
    assert not turns.decide(0.53)
    assert turns.decide(0.55)  # the energy is ahead
    assert turns.side == "flow"
    assert not turns.decide(0.53)  # between the bounds the turn goes on
    assert turns.decide(0.51)
    for _ in range(3):
        turns.step()
    assert turns.decide(0.5)  # the flow may be perfect: the turn ends by its length
    turns.step()
    assert not turns.decide(None)
    turns.step()
    assert turns.decide(None)
    other = Alternation(margin=0.04)
    other.load_state_dict(turns.state_dict())
    assert (other.side, other.steps) == ("energy", 0)


def test_held_out_rows_are_not_trained_on_and_the_log_density_is_cached_for_a_turn():
    torch.manual_seed(0)
    pair = ContrastivePair(GaussianEnergy(2, 2), LearnedNormal(2))
    batch = Batch(torch.randn(100, 2), torch.randint(2, (100,)))
    objective = FlowContrastive(held_out=0.2, energy_steps=10, flow_steps=10, check_every=10)
    rows = objective.prepare(pair, batch)
    assert len(rows.x) == 80
    assert rows.target.tolist() == list(range(80))
    objective(pair, rows)
    calls = []
    pair.noise.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(9):
        objective(pair, rows.rows(torch.arange(5)))
    assert not calls
    loss = objective(pair, rows)
    assert loss.metrics["flow_turn"] == 1
    assert set(loss.metrics) >= {"held_out_accuracy", "held_out_marginal_accuracy", "log_likelihood"}
    assert calls


def fitted(pair, batch, epochs):
    torch.manual_seed(0)
    objective = FlowContrastive(pool=50, energy_steps=7, flow_steps=5, check_every=3)
    phase = Phase(objective, partial(torch.optim.Adam, lr=1e-2), epochs=epochs, batch_size=16)
    metrics, monitor = [ContrastiveAccuracy(noise_rows=50)], Monitor("contrastive_loss", "min")
    return Fit(pair, batch, batch, [phase], metrics, monitor, torch.Generator().manual_seed(0))


def test_training_goes_on_where_a_checkpoint_was_made():
    torch.manual_seed(3)
    pair = ContrastivePair(GaussianEnergy(2, 2), LearnedNormal(2))
    batch = Batch(torch.randn(100, 2), torch.randint(2, (100,)))
    whole, states = fitted(copy.deepcopy(pair), batch, 4), []
    whole.watchers = [Saver(states)]
    whole.run()
    for state in states[1:3]:
        again = fitted(copy.deepcopy(pair), batch, 4)
        again.load_state(state)
        again.run()
        for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
            assert torch.equal(one, other)


class Saver:
    def __init__(self, states):
        self.states = states

    def on_step(self, fit, loss):
        pass

    def on_epoch(self, fit, record):
        assert record["train/held_out_marginal_accuracy"] >= 0

    def on_save(self, fit):
        self.states.append(copy.deepcopy(fit.state()))


def test_copies_of_the_energy_share_the_flow():
    from logprob.nn import StackedMLP

    energy = ConditionalEnergy(StackedMLP(2, 2, (4,), copies=3), 2, 2, log_norm="per-condition", copies=3)
    pair = ContrastivePair(energy, LearnedNormal(2))
    batch = Batch(torch.randn(20, 2), torch.randint(2, (20,)))
    for objective in (FlowContrastive(), at_flow_turn()):
        rows = objective.prepare(pair, batch)
        loss = objective(pair, rows)
        loss.value.backward()
        assert loss.value.dim() == 0
    assert pair.noise.loc.grad.isfinite().all()


def test_mistakes_are_named():
    pair = ContrastivePair(GaussianEnergy(2, 2), LearnedNormal(2), tilted=True)
    batch = Batch(torch.randn(4, 2), torch.randint(2, (4,)))
    with pytest.raises(ValueError, match="tilted"):
        FlowContrastive()(pair, batch)
    with pytest.raises(TypeError, match="ContrastivePair"):
        FlowContrastive()(UnconditionalEnergy(MLP(2, 1)), batch)
    with pytest.raises(ValueError, match="sets 0 of 4"):
        FlowContrastive().prepare(ContrastivePair(GaussianEnergy(2, 2), LearnedNormal(2)), batch)
    with pytest.raises(ValueError, match="'detached', got 'else'"):
        FlowContrastive(rule="else")
    with pytest.raises(ValueError, match="held_out above 0"):
        FlowContrastive(held_out=0.0)
    with pytest.raises(ValueError, match="0 < margin"):
        FlowContrastive(margin=0.5)
