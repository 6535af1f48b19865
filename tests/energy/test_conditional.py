"""Conditional and unconditional energies: the contract, the heads by their formula, copies, labels, state."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn

from logprob.distributions import IntractableError
from logprob.energy import ConditionalEnergy, UnconditionalEnergy
from logprob.nn import MLP, BatchNormMLP, ConvMLP, FullMLP, NormalizedMLP, RefineNet, StackedMLP, take_copy
from logprob.testing import check_distribution

D, K, M, N, C = 5, 4, 3, 6, 2
HEADS = {
    "plain": {},
    "tied": {"squares": "tied"},
    "free": {"squares": "free"},
    "only squares": {"squares": "free", "linear": False},
    "minus tied": {"squares": "tied", "sign": -1},
    "shared": {"log_norm": "shared"},
    "everything": {"squares": "free", "log_norm": "per-condition", "sign": -1, "base": True},
}
POSITIVE = {"positive": {"positive": True}, "positive tied": {"positive": True, "squares": "tied"}}


def make(head, copies=None):
    options = dict((HEADS | POSITIVE)[head])
    if options.get("base"):
        options["base"] = StackedMLP(D, 1, (7,), "tanh", copies)
    return ConditionalEnergy(StackedMLP(D, M, (7,), "tanh", copies), K, M, copies=copies, **options)


def rows(n=N, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(K, (n,), generator=generator)
    y[:K] = torch.arange(K)  # every label, so that a gradient reaches every entry
    return torch.randn(n, D, generator=generator, dtype=dtype), y


def by_the_formula(model, x, label):
    """One row, one label, one copy."""
    f = model.network(x[None])[0]
    g = torch.zeros_like(f) if model.labels is None else model.labels[label]
    if model.positive:
        f, g = f.relu(), g.relu()
    squares = {None: torch.zeros_like(f), "tied": g**2, "free": model.square_labels}[model.squares]
    h = squares[label] if model.squares == "free" else squares
    u = model.sign * sum(f[i] * g[i] + f[i] ** 2 * h[i] for i in range(M))
    u = u if model.base is None else u + model.base(x[None])[0, 0]
    if model.offset is not None:
        u = u + (model.offset if model.log_norm == "shared" else model.offset[label])
    return u


@pytest.mark.parametrize("head", HEADS)
def test_the_contract_of_distributions(head):
    x, y = rows(dtype=torch.float32)
    check_distribution(lambda: make(head), x, context=y)


def test_the_contract_holds_with_copies_and_without_labels():
    x, y = rows(dtype=torch.float32)
    check_distribution(lambda: make("everything", C), x.expand(C, N, D), context=y)
    check_distribution(lambda: UnconditionalEnergy(MLP(D, M, (7,), "tanh"), sign=-1), x)
    assert UnconditionalEnergy(MLP(D, M))().event_shape == (D,)


@pytest.mark.parametrize("head", [*HEADS, *POSITIVE])
def test_heads_are_their_formula(head):
    model, (x, y) = make(head).double(), rows()
    with torch.no_grad():
        expected = torch.stack([torch.stack([by_the_formula(model, row, k) for k in range(K)]) for row in x])
        torch.testing.assert_close(model.log_potentials(x), expected)
        torch.testing.assert_close(model(y).unnormalized_log_prob(x), expected[torch.arange(N), y])


@pytest.mark.parametrize("head", [*HEADS, *POSITIVE])
def test_copies_are_what_each_is_alone(head):
    many, (x, y) = make(head, C).double(), rows()
    distribution = many(y)
    assert distribution.batch_shape == (C, N)
    both = torch.stack([y, y.flip(0)])
    for index in range(C):
        one = take_copy(many, index)
        torch.testing.assert_close(distribution.unnormalized_log_prob(x)[index], one(y).unnormalized_log_prob(x))
        torch.testing.assert_close(distribution.score(x)[index], one(y).score(x))
        torch.testing.assert_close(many.features(x)[index], one.features(x))
        torch.testing.assert_close(many.log_potentials(x)[index], one.log_potentials(x))
        own = one(both[index]).unnormalized_log_prob(x)
        torch.testing.assert_close(many(both).unnormalized_log_prob(x)[index], own)


@pytest.mark.parametrize("copies", [None, C])
def test_scores_are_finite_differences(copies):
    model, (x, y) = make("everything", copies).double(), rows()
    distribution, step = model(y), 1e-5
    score = distribution.score(x)
    for d in range(D):
        shift = step * torch.eye(D).double()[d]
        difference = distribution.unnormalized_log_prob(x + shift) - distribution.unnormalized_log_prob(x - shift)
        torch.testing.assert_close(score[..., d], difference / (2 * step), rtol=1e-5, atol=1e-8)
    assert not x.requires_grad


def test_signs():
    """With tied squares u grows with f for one sign and falls for the other; for the plain head f is relabelled."""
    x, y = rows()
    plain = make("plain").double()
    turned = copy.deepcopy(plain)
    turned.sign = -1
    with torch.no_grad():
        turned.labels.neg_()
    torch.testing.assert_close(turned(y).unnormalized_log_prob(x), plain(y).unnormalized_log_prob(x))
    far = nn.Linear(1, 1, bias=False).double()
    for sign in (1, -1):
        model = ConditionalEnergy(far, 1, 1, squares="tied", sign=sign).double()
        u = model(torch.zeros(2, dtype=torch.long)).unnormalized_log_prob(torch.tensor([[0.0], [1e6]]).double())
        assert (u[1] - u[0]).sign() == sign


@pytest.mark.parametrize("copies", [None, C])
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("column", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_bases_of_every_shape(copies, n, column, shared):
    """The base may be stacked or not, with or without a last axis of one, also for one row and as many as copies."""
    network = StackedMLP(D, 1, (4,), "tanh", None if shared else copies)
    base = network if column else _Squeezed(network)
    model = ConditionalEnergy(StackedMLP(D, M, (4,), copies=copies), K, M, base=base, copies=copies)
    bare = ConditionalEnergy(model.network, K, M, copies=copies)
    bare.labels = model.labels
    x, y = torch.randn(n, D), torch.randint(K, (n,))
    difference = model(y).unnormalized_log_prob(x) - bare(y).unnormalized_log_prob(x)
    expected = network(x)[..., 0].expand_as(difference)
    torch.testing.assert_close(difference, expected, rtol=1e-4, atol=1e-5)
    table = model.log_potentials(x) - bare.log_potentials(x)
    torch.testing.assert_close(table, expected.unsqueeze(-1).expand_as(table), rtol=1e-4, atol=1e-5)


class _Squeezed(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x).squeeze(-1)


def test_a_base_of_another_shape_is_refused():
    model = ConditionalEnergy(MLP(D, M), K, M, base=MLP(D, 2))
    with pytest.raises(ValueError, match="a number for each of 6 rows from the base, got shape"):
        model(torch.zeros(6, dtype=torch.long)).unnormalized_log_prob(torch.randn(6, D))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "got none"),
        (torch.tensor([0, K]), "from 0 to 3, got 0 to 4"),
        (torch.tensor([-1, 0]), "from 0 to 3, got -1 to 0"),
        (torch.tensor([0.0, 1.0]), "must be integers, got torch.float32"),
        (torch.tensor([True, False]), "must be integers, got torch.bool"),
        (torch.zeros(2, 1, dtype=torch.long), r"must have shape \(N,\), got \(2, 1\)"),
        (torch.tensor(0), r"must have shape \(N,\), got \(\)"),
    ],
)
def test_labels_that_are_none(labels, message):
    with pytest.raises(ValueError, match=message):
        make("plain")(labels)


def test_labels_of_other_rows_and_types():
    model, (x, y) = make("plain").double(), rows()
    with pytest.raises(ValueError, match="expected 6 rows, one for each label, got values"):
        model(y).unnormalized_log_prob(x[:1])
    expected = model(y).unnormalized_log_prob(x)
    for dtype in (torch.int32, torch.uint8):
        assert torch.equal(model(y.to(dtype)).unnormalized_log_prob(x), expected)
    assert model(y[:0]).unnormalized_log_prob(x[:0]).shape == (0,)


def test_arguments_that_are_none():
    network = MLP(D, M)
    for options, message in (
        ({"squares": "both"}, "squares must be"),
        ({"log_norm": "scalar"}, "log_norm must be"),
        ({"sign": 2}, "sign must be"),
        ({"linear": False}, "squares must be 'free'"),
        ({"copies": 0}, "copies must be"),
    ):
        with pytest.raises(ValueError, match=message):
            ConditionalEnergy(network, K, M, **options)
    with pytest.raises(ValueError, match="expected 2 features from the network, got 3"):
        ConditionalEnergy(network, K, 2).features(torch.randn(2, D))
    with pytest.raises(ValueError, match="sign must be"):
        UnconditionalEnergy(network, sign=0)


def test_posteriors_of_labels_need_a_normaliser_for_each():
    x, y = rows()
    with pytest.raises(IntractableError, match="per-condition"):
        make("shared").double().label_logits(x)
    with pytest.raises(IntractableError, match="c_y is -log"):
        make("everything").double()(y).log_prob(x)


def test_posteriors_of_gaussians():
    """f = (x, 1) with the right numbers is N(mean_y, var_y): p(y | x) by Bayes."""
    mean, variance = torch.tensor([-1.0, 0.5, 2.0]).double(), torch.tensor([0.3, 1.0, 2.0]).double()
    model = ConditionalEnergy(nn.Identity(), 3, 1, squares="free", log_norm="per-condition").double()
    with torch.no_grad():
        model.labels.copy_((mean / variance)[:, None])
        model.square_labels.copy_((-0.5 / variance)[:, None])
        model.offset.copy_(-0.5 * (mean**2 / variance + (2 * torch.pi * variance).log()))
    x, prior = torch.linspace(-3, 3, 7).double()[:, None], torch.tensor([0.2, 0.3, 0.5]).double()
    law = torch.distributions.Normal(mean, variance.sqrt())
    torch.testing.assert_close(model.log_potentials(x), law.log_prob(x))
    posterior = (law.log_prob(x) + prior.log()).softmax(-1)
    torch.testing.assert_close(model.label_logits(x, prior.log()).softmax(-1), posterior)


def test_starts():
    torch.manual_seed(0)
    model = ConditionalEnergy(MLP(D, 400), 100, 400, log_norm="shared", squares="free", copies=None)
    assert model.labels.abs().max() <= 0.1
    assert model.labels.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.02)  # a linear layer of 100 inputs
    assert model.square_labels.std().item() == pytest.approx(0.1, rel=0.02)
    offsets = ConditionalEnergy(MLP(D, 1), 2, 1, log_norm="shared", copies=4000).offset
    assert offsets.mean().item() == pytest.approx(-5, abs=0.1)
    assert offsets.std().item() == pytest.approx(1, abs=0.05)


SHAPE = (1, 8, 8)
NETWORKS = {
    "batch norm": lambda: BatchNormMLP(64, M),
    "normalised": lambda: NormalizedMLP(64, M, (8, 8)),
    "full": lambda: FullMLP(64, M, width=4),
    "conv": lambda: ConvMLP(64, M, SHAPE, width=8),
    "refinenet": lambda: RefineNet(64, M, SHAPE, width=4),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_round_trips_and_batch_mates(name):
    """State comes back bit-equal, and in eval mode the features of a row do not depend on the others."""
    torch.manual_seed(0)
    model = ConditionalEnergy(NETWORKS[name](), K, M, log_norm="per-condition")
    x, y = torch.rand(8, 64), torch.randint(K, (8,))
    model.train()
    for _ in range(3):
        model.features(2 * torch.rand(16, 64))  # running averages that are not the start
    model.eval()
    loaded = ConditionalEnergy(NETWORKS[name](), K, M, log_norm="per-condition").eval()
    loaded.load_state_dict(model.state_dict())
    with torch.no_grad():
        features = model.features(x)
        assert torch.equal(loaded(y).unnormalized_log_prob(x), model(y).unnormalized_log_prob(x))
        alone = torch.cat([model.features(row[None]) for row in x])
        assert (alone - features).norm() <= 1e-5 * features.norm()


def test_every_head_has_every_option():
    """No combination fails."""
    x, y = rows()
    for squares, positive, log_norm, sign in itertools.product(
        (None, "tied", "free"), (False, True), (None, "shared", "per-condition"), (1, -1)
    ):
        model = ConditionalEnergy(
            MLP(D, M), K, M, squares=squares, positive=positive, log_norm=log_norm, sign=sign
        ).double()
        assert model(y).unnormalized_log_prob(x).isfinite().all()
