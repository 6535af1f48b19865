"""InvertibleGaussian beside golden files, quadrature, autograd and samples.

Statistical checks have a fixed seed; each bound is exceeded with a probability below 1e-4 by a correct law.
"""

from __future__ import annotations

import math

import golden_simplex
import pytest
import torch
from scipy import stats
from torch.autograd import gradcheck
from torch.distributions import kl_divergence

from logprob.distributions import IntractableError
from logprob.simplex.conditional_noise import gaussian_noise_given, ndtri_exp
from logprob.simplex.invertible_gaussian import InvertibleGaussian
from logprob.simplex.planar import Planar
from logprob.simplex.points import on_simplex
from logprob.simplex.stick_breaking import LogStickBreaking, StickBreaking

F64 = torch.float64
GOLDEN = golden_simplex.load("invertible_gaussian")


def planar(size, dtype=F64, layers=2):
    return Planar(*(torch.randn(layers, *shape, dtype=dtype) for shape in ((size,), (size,), ())))


MAPS = {
    "identity": lambda size, dtype=F64: None,
    "sticks": lambda size, dtype=F64: StickBreaking(),
    "log sticks": lambda size, dtype=F64: LogStickBreaking(),
    "planar": planar,
}
maps = pytest.mark.parametrize("name", MAPS)


def some_law(name, size=4, batch=(), temperature=0.7, delta=1.3, dtype=F64, **options):
    loc, scale = torch.randn(*batch, size, dtype=dtype), torch.rand(*batch, size, dtype=dtype) + 0.5
    return InvertibleGaussian(loc, scale.log(), temperature, delta, MAPS[name](size, dtype), **options)


# Densities.


@pytest.mark.parametrize("index", range(5))
def test_densities_equal_the_golden_ones(index):
    temperature = GOLDEN["temperatures"][index].item()
    for d, delta in enumerate(GOLDEN["deltas"].tolist()):
        q = InvertibleGaussian(GOLDEN["loc"], GOLDEN["log_scale"], temperature, delta)
        log_psi = GOLDEN["log_psi"][d, index]
        tolerance = {"atol": 1e-10, "rtol": 1e-9 if temperature == 0.05 else 0}
        torch.testing.assert_close(q.map.log_psi(GOLDEN["y"]), log_psi, **tolerance)
        torch.testing.assert_close(q.log_prob_log(log_psi), GOLDEN["log_prob_log_simplex"][d, index], **tolerance)
        torch.testing.assert_close(q.log_prob(log_psi.exp()), GOLDEN["log_prob"][d, index], **tolerance)
        torch.testing.assert_close(q.base.log_prob(GOLDEN["y"]), GOLDEN["log_prob_base"], **tolerance)
        if delta == 1:
            torch.testing.assert_close(q.map.psi(GOLDEN["y"]), GOLDEN["psi_original"][index], atol=1e-12, rtol=0)


@maps
@pytest.mark.parametrize("temperature", [2.0, 1.0, 0.5])
def test_log_determinants_equal_those_of_autograd(name, temperature):
    law = some_law(name, temperature=temperature).map
    y = GOLDEN["y"].reshape(-1, 4)[:40]
    jacobian = torch.func.vmap(torch.func.jacrev(lambda y: law.psi(y)[..., :-1]))(y)
    got = law.log_abs_det(y) + law.log_psi(y).sum(-1)
    torch.testing.assert_close(got, torch.linalg.slogdet(jacobian)[1], atol=1e-8, rtol=0)


def simplex_mass(law, cells):
    """Integral of the density over the additive log-ratios, in which it is smooth."""
    temperature, shift = law.temperature.item(), law.delta.log().item()
    if isinstance(law.transform, StickBreaking):
        sides = [torch.arange(2 * cells, dtype=F64).add(0.5) / (2 * cells * temperature) - shift] * 2
        reached = 1 / temperature - 2 * shift
    else:
        log_psi = law.rsample_log((100_000,))
        u = log_psi[:, :2] - log_psi[:, 2:]
        low, high = u.amin(0), u.amax(0)
        middle, half = (low + high) / 2, high - low
        grid = (torch.arange(cells, dtype=F64) + 0.5) / cells * 2 - 1
        sides, reached = [middle[k] + half[k] * grid for k in range(2)], torch.inf
    total = 0.0
    area = math.prod((side[1] - side[0]).item() for side in sides)
    for part in sides[0].split(200):  # memory
        u = torch.cartesian_prod(part, sides[1])
        u = u[u.sum(-1) < reached]
        log_psi = torch.log_softmax(torch.nn.functional.pad(u, (0, 1)), -1)
        total += (law.log_prob(log_psi.exp()) + log_psi.sum(-1)).exp().sum().item() * area
    return total


@maps
def test_the_density_has_mass_one(name):
    for _ in range(2):
        size, uniform = 2, torch.empty(4, dtype=F64).uniform_(0.5, 2)
        q = some_law(name, size, temperature=uniform[0].item(), delta=uniform[1].item())
        assert abs(simplex_mass(q, cells=500) - 1) < 2e-3


@maps
def test_own_samples_have_the_density_of_their_values(name):
    q = some_law(name, batch=(3,))
    psi = q.rsample((50,))
    expected = q.log_prob(psi.clone())
    torch.testing.assert_close(q.log_prob(psi), expected)
    log_psi = q.rsample_log((50,))
    expected = q.log_prob_log(log_psi.clone())
    torch.testing.assert_close(q.log_prob_log(log_psi), expected)
    torch.testing.assert_close(q.log_prob(log_psi.exp()) + log_psi[..., :-1].sum(-1), expected)


@maps
@pytest.mark.parametrize("temperature", [0.5, 0.1, 0.05, 0.01])
def test_own_samples_have_finite_densities_and_gradients_at_low_temperature(name, temperature):
    loc, log_scale = (torch.randn(1000, 9).requires_grad_() for _ in range(2))
    q = InvertibleGaussian(loc, log_scale, temperature, transform=MAPS[name](9, torch.float32))
    p = InvertibleGaussian(torch.zeros(9), torch.zeros(9), temperature, transform=q.transform)
    for draw in (q.rsample, q.sample):
        psi = draw()
        assert on_simplex(psi).all()
        for result in (q.log_prob(psi), q.log_ratio(p, psi), psi):
            assert result.isfinite().all()
            if result.requires_grad:
                assert all(g.isfinite().all() for g in torch.autograd.grad(result.sum(), (loc, log_scale)))


def test_a_changed_sample_is_not_taken_for_the_drawn_one():
    q = some_law("identity")
    psi = q.sample((5,))
    other = q.sample((5,))
    before = q.log_prob(other)
    other.copy_(psi)
    torch.testing.assert_close(q.log_prob(other), q.log_prob(psi))
    assert not torch.allclose(q.log_prob(other), before)
    loc = torch.zeros(4, dtype=F64)
    q = InvertibleGaussian(loc, 0.0)
    psi = q.sample()
    loc += 1
    torch.testing.assert_close(q.log_prob(psi), InvertibleGaussian(loc, 0.0).log_prob(psi))


def test_gradients_of_own_samples_are_those_of_the_formula():
    q = some_law("log sticks", batch=(3,))
    parameters = [x.detach().requires_grad_() for x in (q.loc, q.log_scale)]
    temperature, delta = (torch.tensor(x, dtype=F64, requires_grad=True) for x in (0.7, 1.3))
    law = InvertibleGaussian(*parameters, temperature, delta, LogStickBreaking())
    leaves = (*parameters, temperature, delta)
    psi = law.rsample()
    torch.testing.assert_close(
        torch.autograd.grad(law.log_prob(psi).sum(), leaves, retain_graph=True),
        torch.autograd.grad(law.log_prob(psi.clone()).sum(), leaves),
    )
    psi = law.sample()  # held: only the parameters of the density count
    got, expected = (torch.autograd.grad(law.log_prob(value).sum(), leaves) for value in (psi, psi.clone()))
    torch.testing.assert_close(got, expected)


def test_a_leaf_takes_the_gradient_with_respect_to_the_value():
    q = some_law("identity")
    psi = q.sample().requires_grad_()
    (got,) = torch.autograd.grad(q.log_prob(psi), psi)
    torch.testing.assert_close(got, q.score(psi.detach()))


def test_values_with_zeros_have_no_density_and_no_gradient():
    q = some_law("identity", validate_args=False)
    value = torch.tensor([[1.0, 0, 0, 0, 0], [0.2] * 5, [0.5, 0.5, 0, 0, 0]], dtype=F64, requires_grad=True)
    log_prob = q.log_prob(value)
    assert log_prob.isfinite().tolist() == [False, True, False]
    assert (log_prob[::2] == -torch.inf).all()
    (gradient,) = torch.autograd.grad(log_prob[1], value)
    assert gradient.isfinite().all()
    assert q.log_prob(torch.full((5,), torch.nan, dtype=F64)).isnan()


def test_broken_sticks_reach_a_part_of_the_simplex():
    q = some_law("sticks", 2, temperature=1.0, delta=1.0)
    points = torch.distributions.Dirichlet(torch.ones(3, dtype=F64)).sample((20_000,))
    u = points[:, :2].log() - points[:, 2:].log()
    inside = (u > 0).all(-1) & (u.sum(-1) < 1)
    assert torch.equal(q.log_prob(points).isfinite(), inside)
    assert torch.equal(q.support.check(points), inside)
    assert abs(inside.double().mean() - 0.034) < 0.007  # five standard errors
    assert q.support.check(q.sample((100,))).all()
    assert some_law("log sticks").support is torch.distributions.constraints.simplex


# Ratios of densities.


@maps
def test_ratios_equal_differences_of_log_densities(name):
    q = some_law(name, batch=(3,))
    loc = torch.randn(3, 4, dtype=F64)
    others = {
        "same map": InvertibleGaussian(loc, 0.3, 0.7, 1.3, q.transform),
        "other temperature": InvertibleGaussian(loc, 0.3, 0.5, 1.3, q.transform),
        "other delta": InvertibleGaussian(loc, 0.3, 0.7, 2.0, q.transform),
        "no map": InvertibleGaussian(loc, 0.3, 0.5),
    }
    for p in others.values():
        psi = q.rsample((20,))
        expected = q.log_prob(psi) - p.log_prob(psi)
        torch.testing.assert_close(q.log_ratio(p, psi), expected)
        torch.testing.assert_close(q.log_ratio(p, psi.clone()), expected)
        torch.testing.assert_close(q.log_ratio(p, psi, stick_the_landing=True), expected)


@maps
@pytest.mark.parametrize("low", [0.7, 0.4])
def test_sticking_the_landing_leaves_the_score_out(name, low):
    """Its gradient is the full one less the gradient of log q at the held value; with q = p it is 0."""
    parameters = [torch.randn(3, 4, dtype=F64).requires_grad_() for _ in range(2)]
    transform = MAPS[name](4)
    learned = [part.requires_grad_() for part in (transform.parameters() if transform else ())]
    q = InvertibleGaussian(*parameters, 0.7, transform=transform)
    p = InvertibleGaussian(torch.zeros(4, dtype=F64), 0.0, low, transform=transform if low == 0.7 else None)
    psi = q.rsample()
    leaves = parameters if low == 0.7 else [*parameters, *learned]
    full = torch.autograd.grad(q.log_ratio(p, psi).sum(), leaves, retain_graph=True, allow_unused=True)
    score = torch.autograd.grad(q.log_prob(psi.detach()).sum(), leaves, allow_unused=True)
    got = torch.autograd.grad(q.log_ratio(p, psi, stick_the_landing=True).sum(), leaves, allow_unused=True)
    torch.testing.assert_close(got, tuple(a - b for a, b in zip(full, score, strict=True)))
    if low == 0.7:
        same = InvertibleGaussian(*(x.detach() for x in parameters), 0.7, transform=transform)
        (zero,) = torch.autograd.grad(q.log_ratio(same, psi, stick_the_landing=True).sum(), parameters[:1])
        torch.testing.assert_close(zero, torch.zeros_like(zero))


def test_ratios_are_finite_where_densities_have_no_digits_left():
    q = InvertibleGaussian(torch.randn(500, 9), 0.0, 0.001)
    p = InvertibleGaussian(torch.randn(500, 9), 0.0, 0.002)
    ratio = q.log_ratio(p, q.rsample())
    assert ratio.isfinite().all()
    assert ratio.abs().max() < 1e3


# Samples and gradients.


@maps
def test_samples_have_the_stated_shape_and_gradient(name):
    def draw(loc, log_scale, temperature, delta):
        torch.manual_seed(0)
        return InvertibleGaussian(loc, log_scale, temperature, delta, transform).rsample((2,))

    transform = MAPS[name](3)
    arguments = [torch.randn(3, dtype=F64), torch.randn(4, 1, 3, dtype=F64) * 0.3]
    arguments += [torch.rand(4, 2, dtype=F64) + 0.5, torch.rand((), dtype=F64) + 0.5]
    assert draw(*arguments).shape == (2, 4, 2, 4)
    assert gradcheck(draw, [argument.requires_grad_() for argument in arguments])


@maps
def test_log_prob_passes_gradcheck(name):
    transform = MAPS[name](3)
    psi = some_law(name, 3, (2,), 0.9, 1.1).sample() if transform is None else None
    if psi is None:
        psi = InvertibleGaussian(torch.zeros(2, 3, dtype=F64), 0.0, 0.9, 1.1, transform).sample()

    def density(loc, log_scale, temperature, delta, head):
        value = torch.cat([head, 1 - head.sum(-1, keepdim=True)], -1)
        law = InvertibleGaussian(loc, log_scale, temperature, delta, transform, validate_args=False)
        return law.log_prob(value)

    arguments = [torch.randn(2, 3, dtype=F64), torch.zeros(3, dtype=F64), torch.tensor(0.9), torch.tensor(1.1)]
    arguments = [x.to(F64).requires_grad_() for x in (*arguments, psi[..., :-1])]
    assert gradcheck(density, arguments)


def test_straight_through_is_one_hot_with_the_relaxed_gradient():
    loc = torch.randn(5, 3, requires_grad=True)
    torch.manual_seed(1)
    hard = InvertibleGaussian(loc, 0.0, 0.5).straight_through((4,))
    torch.manual_seed(1)
    soft = InvertibleGaussian(loc, 0.0, 0.5).rsample((4,))
    assert torch.equal(hard, torch.nn.functional.one_hot(soft.argmax(-1), 4).float())
    weights = torch.randn(4)
    torch.testing.assert_close(*(torch.autograd.grad((z * weights).sum(), loc)[0] for z in (hard, soft)))


def test_scores_make_the_sample():
    q = some_law("planar", batch=(3,))
    noise = q.draw_noise((2,))
    scores = q.scores(noise)
    torch.testing.assert_close(torch.softmax(scores / q.temperature, -1), q.map.psi(q.gaussian.value(noise)))
    torch.testing.assert_close(scores[..., -1], q.threshold.expand(2, 3))


def test_half_precision_is_computed_in_float32():
    for dtype in (torch.float16, torch.bfloat16):
        loc = torch.randn(100, 9, dtype=dtype, requires_grad=True)
        q = InvertibleGaussian(loc, 0.0, 0.05)
        psi = q.rsample()
        log_prob = q.log_prob(psi)
        kl = kl_divergence(q, InvertibleGaussian(torch.zeros(9, dtype=dtype), 0.0, 0.05))
        assert (psi.dtype, log_prob.dtype, kl.dtype) == (dtype, torch.float32, torch.float32)
        assert log_prob.isfinite().all()
        (gradient,) = torch.autograd.grad(psi.float().square().sum() + kl.sum(), loc)
        assert gradient.dtype == dtype
        assert gradient.isfinite().all()


# Shapes and arguments.


def test_temperatures_of_the_batch_line_up():
    loc, taus = torch.randn(5, 3), torch.rand(5) + 0.5
    each = torch.stack([InvertibleGaussian(loc[i], 0.0, taus[i]).log_prob(torch.full((4,), 0.25)) for i in range(5)])
    for temperature in (taus, taus.unsqueeze(-1)):
        q = InvertibleGaussian(loc, 0.0, temperature, delta=torch.ones_like(temperature))
        assert q.batch_shape == (5,)
        torch.testing.assert_close(q.log_prob(torch.full((4,), 0.25)), each)
        psi = q.rsample()
        torch.testing.assert_close(q.log_prob(psi), q.log_prob(psi.clone()), rtol=1e-3, atol=1e-3)
    assert InvertibleGaussian(torch.zeros(3), 0.0, torch.ones(1)).batch_shape == ()
    assert InvertibleGaussian(torch.zeros(3), 0.0, torch.ones(7)).sample().shape == (7, 4)


def test_two_categories_are_a_logistic_normal():
    q = InvertibleGaussian(torch.tensor([0.3], dtype=F64), 0.2, 0.7, 1.5)
    x = torch.linspace(0.05, 0.95, 19, dtype=F64)
    mean, spread = 0.3 / 0.7 - math.log(1.5), math.exp(0.2) / 0.7
    expected = stats.norm.logpdf(torch.logit(x), mean, spread) - (x * (1 - x)).log().numpy()
    torch.testing.assert_close(q.log_prob(torch.stack([x, 1 - x], -1)), torch.as_tensor(expected))
    assert q.probs[0].item() == pytest.approx(stats.norm.sf(0.7 * math.log(1.5), 0.3, math.exp(0.2)), abs=1e-12)


@maps
def test_empty_batches_work(name):
    q = some_law(name, batch=(0, 3))
    psi = q.rsample((2,))
    assert psi.shape == (2, 0, 3, 5)
    assert q.log_prob(psi).shape == (2, 0, 3)
    assert kl_divergence(q, q).shape == (0, 3)
    if name == "identity":
        assert q.probs.shape == (0, 3, 5)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((torch.zeros(3),), {}, "one of log_scale and scale, got neither"),
        ((torch.zeros(3), 0.0), {"scale": 1.0}, "got both"),
        ((torch.zeros(0), 0.0), {}, r"K >= 2, got \(0,\)"),
        ((torch.zeros(()), 0.0), {}, "K >= 2"),
        ((torch.tensor([0.0, torch.nan]), 0.0), {}, "loc to be finite, got nan"),
        ((torch.zeros(3), torch.inf), {}, "log_scale to be finite, got inf"),
        ((torch.zeros(3),), {"scale": -2.0}, "scale to be positive and finite, got -2"),
        ((torch.zeros(3), 0.0, 0.0), {}, "temperature to be positive and finite, got 0"),
        ((torch.zeros(3), 0.0, 1.0, -1.5), {}, "delta to be positive and finite, got -1.5"),
    ],
)
def test_wrong_arguments_are_named_with_their_value(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        InvertibleGaussian(*arguments, **options, validate_args=True)


def test_wrong_values_are_named():
    q = some_law("identity", 2, validate_args=True)
    with pytest.raises(ValueError, match=r"simplex, got \[0.5, 0.4"):
        q.log_prob(torch.tensor([0.5, 0.4, 0.3], dtype=F64))
    with pytest.raises(ValueError, match=r"shape \(..., 3\), got \(2,\)"):
        q.log_prob(torch.full((2,), 0.5, dtype=F64))


# Categories.


def test_probabilities_are_those_of_the_argmax():
    q = some_law("identity", 4, (3,))
    frequencies = q.sampled_probs(40_000)
    error = (q.probs * (1 - q.probs) / 40_000).sqrt()
    assert ((frequencies - q.probs).abs() < 4.5 * error).all()
    torch.testing.assert_close(q.probs.sum(-1), torch.ones(3, dtype=F64))
    assert torch.equal(q.mode.argmax(-1), q.probs.argmax(-1))
    torch.testing.assert_close(q.to_categorical().logits, q.logits)


def test_laws_with_given_probabilities():
    probs = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]])
    q = InvertibleGaussian.from_probs(probs, scale=torch.tensor([1.0, 0.5, 2.0]), temperature=0.3, delta=0.5)
    torch.testing.assert_close(q.probs, probs)
    p = InvertibleGaussian.uniform(10, temperature=torch.tensor([0.5, 0.1]), delta=2.0)
    torch.testing.assert_close(p.probs, torch.full((2, 10), 0.1))
    assert InvertibleGaussian.uniform(10).loc[0].item() == pytest.approx(-0.75296, abs=1e-5)


@pytest.mark.parametrize("name", ["sticks", "planar"])
def test_what_a_map_hides_is_refused_with_a_remedy(name):
    q = some_law(name)
    for attempt in (lambda: q.logits, lambda: q.probs, lambda: q.mode, q.to_categorical):
        with pytest.raises(IntractableError, match="sampled_probs"):
            attempt()
    with pytest.raises(IntractableError, match="draw noise and keep"):
        q.noise_given(torch.eye(5)[0])
    with pytest.raises(IntractableError, match="sampled_entropy"):
        q.entropy_bounds()
    for attempt, remedy in ((lambda: q.mean, "sampled_mean"), (q.entropy, "sampled_entropy")):
        with pytest.raises(IntractableError, match=remedy):
            attempt()
    assert q.sampled_probs(100).sum() == pytest.approx(1)


@pytest.mark.parametrize("scales", [(1.0, 1.0, 1.0), (2.0, 0.1, 0.7)])
def test_noise_given_its_category_has_the_law_of_noise(scales):
    """Categories drawn from their law, then noise given them: each coordinate is standard normal again, and
    independent; without the draw, the category is the given one."""
    q = InvertibleGaussian(torch.tensor([0.3, -0.2, 0.5]), scale=torch.tensor(scales), temperature=0.5, delta=1.5)
    category = q.to_categorical().sample((20_000,))
    noise = q.noise_given(category)
    assert torch.equal(q.scores(noise).argmax(-1), category.argmax(-1))
    for k in range(3):
        assert stats.kstest(noise[:, k].numpy(), "norm").pvalue > 1e-4
    correlation = torch.corrcoef(noise.T)[~torch.eye(3, dtype=torch.bool)]
    assert correlation.abs().max() < 4.5 / 20_000**0.5
    plain = q.draw_noise((20_000,))  # the law of the whole vector: another statistic, by two samples
    gap = [(q.scores(x).amax(-1) - q.scores(x).amin(-1)).numpy() for x in (noise, plain)]
    assert stats.ks_2samp(*gap).pvalue > 1e-4


def test_noise_given_its_category_is_differentiable():
    category = torch.eye(4, dtype=F64)[[0, 1, 2, 3, 1]]

    def noise(loc, scale, threshold):
        torch.manual_seed(3)
        return gaussian_noise_given(loc, scale, threshold, category)

    loc, scale = torch.randn(5, 3, dtype=F64), torch.rand(5, 3, dtype=F64) + 0.3
    arguments = [x.requires_grad_() for x in (loc, scale, torch.tensor([0.0, 0.2, -0.4, 0.0, 1.0], dtype=F64))]
    assert gradcheck(noise, arguments, eps=1e-5, atol=1e-5)
    (first,) = torch.autograd.grad(noise(*arguments).sum(), loc, create_graph=True)
    with pytest.raises(NotImplementedError, match="with respect to the parameters"):
        torch.autograd.grad(first.sum(), loc)


def test_noise_given_its_category_at_the_edges():
    assert InvertibleGaussian(torch.zeros(0, 3), 0.0).noise_given(torch.zeros(2, 0, 4)).shape == (2, 0, 3)
    many = InvertibleGaussian(torch.zeros(5, 3), 0.0, torch.rand(5) + 0.5, 0.7)
    assert many.noise_given(torch.eye(4)[torch.randint(4, (7, 5))]).shape == (7, 5, 3)
    rare = InvertibleGaussian(torch.tensor([-60.0, 0.0, 1.0]), 0.0)
    assert torch.equal(rare.scores(rare.noise_given(torch.eye(4))).argmax(-1), torch.arange(4))
    for loc in ([[0.0, torch.nan]], [[0.0, torch.nan], [0.0, 1.0]]):
        law = InvertibleGaussian(torch.tensor(loc), 0.0, validate_args=False)
        noise = law.noise_given(torch.eye(3)[[0] * len(loc)])
        assert noise[0].isnan().all()
        assert noise[1:].isfinite().all()


def test_the_inverse_of_the_log_distribution_function():
    x = torch.linspace(-200, 6, 500, dtype=F64)
    log_p = torch.special.log_ndtr(x).requires_grad_()
    torch.testing.assert_close(ndtri_exp(log_p), x, rtol=1e-9, atol=1e-8)
    assert gradcheck(ndtri_exp, log_p[:400:20].detach().requires_grad_())
    assert ndtri_exp(torch.zeros((), dtype=F64)).isfinite()


# Summaries.


@pytest.mark.parametrize("temperature", [2.0, 0.5, 0.1])
def test_entropy_lies_between_its_bounds(temperature):
    q = some_law("identity", 6, (20,), temperature)
    lower, upper = q.entropy_bounds()
    draws = q.rsample((20_000,))
    minus = -q.log_prob(draws)
    error = 4.5 * minus.std(0) / 20_000**0.5
    assert (lower - error < minus.mean(0)).all()
    assert (minus.mean(0) < upper + error).all()
    assert ((q.sampled_entropy(20_000) - minus.mean(0)).abs() < 2 * error).all()


def test_entropy_bounds_meet_where_there_is_little_noise():
    q = InvertibleGaussian(torch.randn(5, 3, dtype=F64), -7.0, 0.5)
    lower, upper = q.entropy_bounds()
    torch.testing.assert_close(lower, upper, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["sticks", "planar"])
def test_sampled_summaries_with_a_map(name):
    q = some_law(name)
    draws = q.rsample((20_000,))
    minus = -q.log_prob(draws)
    assert abs(q.sampled_entropy(20_000) - minus.mean()) < 9 * minus.std() / 20_000**0.5
    assert ((q.sampled_mean(20_000) - draws.mean(0)).abs() < 7 * draws.std(0) / 20_000**0.5).all()
