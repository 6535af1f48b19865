"""What every relaxation keeps to, and the reference values of each."""

import pickle

import golden_discrete
import pytest
import torch
from given_noise import Given

from logprob.discrete.binary_entropy_subset import BinaryEntropySubset, bits_that_sum_to
from logprob.discrete.k_subset import KSubset
from logprob.discrete.noise import Gumbel
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.discrete.soft_choice import MaxOfConcretes, SoftChoice
from logprob.discrete.soft_sub import SoftSub
from logprob.discrete.soft_subset import SoftSubset
from logprob.discrete.soft_tree import SoftTree
from logprob.discrete.solvers.grid_path import GridPath
from logprob.discrete.solvers.hypercube import Hypercube
from logprob.discrete.solvers.one_of import OneOf
from logprob.discrete.solvers.spanning_tree import SpanningTree
from logprob.discrete.solvers.top_k import TopK

MEMBERS = {
    "SoftChoice": (SoftChoice, OneOf(), 1),
    "MaxOfConcretes": (lambda *a, **k: MaxOfConcretes(3, *a, **k), TopK(3), None),
    "SoftSub": (SoftSub, TopK(3), 3),
    "SoftSub, not accumulated": (lambda *a, **k: SoftSub(*a, **k, accumulate=False), TopK(3), 3),
    "SoftSubset": (SoftSubset, TopK(3), 3),
    "BinaryEntropySubset": (BinaryEntropySubset, TopK(3), 3),
    "SoftTree": (SoftTree, SpanningTree(), 4),
    "SoftTree, clipped": (lambda *a, **k: SoftTree(*a, **k, max_range=15.0), SpanningTree(), 4),
}
members = pytest.mark.parametrize(("make", "solver", "ones"), MEMBERS.values(), ids=MEMBERS)

GOLDEN = golden_discrete.load("relaxations")
REFERENCE = {
    "softsub_plain": (SoftSub, {"accumulate": False}),
    "softsub_accum": (SoftSub, {}),
    "gumbel_softmax": (SoftChoice, {}),
    "sst_topk": (SoftSubset, {}),
}


def law(scores, solver, gradient, numbers=None):
    return PerturbAndMAP(scores, solver, Gumbel() if numbers is None else Given(numbers), gradient=gradient)


def scores_of(*batch, dtype=torch.float64):
    """For ten items, or the edges of five vertices."""
    return torch.randn(*batch, 10, dtype=dtype, generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.mark.parametrize("temperature", ["0p1", "0p5", "2p0"])
@pytest.mark.parametrize("name", REFERENCE)
def test_reference_of_vectors(name, temperature) -> None:
    make, settings = REFERENCE[name]
    solver = OneOf() if make is SoftChoice else TopK(int(GOLDEN["k"]))
    scores = GOLDEN["theta"].clone().requires_grad_()
    z = law(scores, solver, make(float(temperature.replace("p", ".")), **settings), GOLDEN["gumbel"]).rsample()
    tolerance = 1e-6 if name.startswith("softsub") and temperature == "0p1" else 1e-8
    torch.testing.assert_close(z.detach(), GOLDEN[f"{name}_T{temperature}"], atol=tolerance, rtol=0)
    (gradient,) = torch.autograd.grad(z, scores, GOLDEN["dy"])
    torch.testing.assert_close(gradient, GOLDEN[f"{name}_grad_T{temperature}"], atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("temperature", ["0p3", "1p0", "5p0"])
def test_reference_of_trees(temperature) -> None:
    scores = GOLDEN["tree_theta"].clone().requires_grad_()
    gradient = SoftTree(float(temperature.replace("p", ".")), max_range=15.0)
    z = law(scores, SpanningTree(), gradient, GOLDEN["tree_gumbel"]).rsample()
    torch.testing.assert_close(z.detach(), GOLDEN[f"sst_tree_T{temperature}"], atol=1e-8, rtol=0)
    (vjp,) = torch.autograd.grad(z, scores, GOLDEN["tree_dy"])
    torch.testing.assert_close(vjp, GOLDEN[f"sst_tree_grad_T{temperature}"], atol=1e-8, rtol=1e-8)
    hard = law(scores, SpanningTree(), SoftTree(hard=True), GOLDEN["tree_gumbel"]).rsample()
    assert torch.equal(hard.detach(), GOLDEN["sst_tree_hard"])


@members
def test_shapes_and_sums(make, solver, ones) -> None:
    z = law(scores_of(2), solver, make(0.7)).rsample((4, 3))
    assert z.shape == (4, 3, 2, 10)
    assert (z >= 0).all()
    if ones is not None:
        torch.testing.assert_close(z.sum(-1), torch.full((4, 3, 2), float(ones), dtype=z.dtype))


@pytest.mark.parametrize(
    "name", ["SoftChoice", "MaxOfConcretes", "SoftSub", "SoftSubset", "BinaryEntropySubset", "SoftTree"]
)
def test_low_temperatures_give_the_answer(name) -> None:
    make, solver, ones = MEMBERS[name]
    scores = 3 * torch.randperm(10).double()
    numbers = torch.zeros(10)
    if ones is None:  # three draws of which each has a choice of its own
        numbers = 100 * torch.eye(10)[[1, 4, 6]]
    z, answer = (law(scores, solver, gradient, numbers).rsample() for gradient in (make(0.05), make().eval()))
    torch.testing.assert_close(z, answer, atol=1e-6, rtol=0)


@members
def test_derivatives(make, solver, ones) -> None:
    numbers = torch.randn((3, 10) if ones is None else (10,), dtype=torch.float64)
    sample = lambda scores: law(scores, solver, make(0.8), numbers).rsample()  # noqa: E731
    assert torch.autograd.gradcheck(sample, scores_of())
    assert torch.autograd.gradgradcheck(sample, scores_of())


@members
def test_straight_through(make, solver, ones) -> None:
    numbers = torch.randn((3, 10) if ones is None else (10,), dtype=torch.float64)
    soft, hard = make(0.8), make(0.8, hard=True)
    scores, dy = scores_of(), torch.randn(10, dtype=torch.float64)
    samples = [law(scores, solver, gradient, numbers).rsample() for gradient in (soft, hard)]
    points = scores.detach() + (numbers.amax(0) if ones is None else numbers)
    assert torch.equal(samples[1].detach(), solver(points))
    torch.testing.assert_close(*(torch.autograd.grad(z, scores, dy)[0] for z in samples))
    assert (soft.value, hard.value) == ("relaxed", "one-hot")


@members
def test_evaluation_gives_answers(make, solver, ones) -> None:
    gradient = make().eval()
    z = law(scores_of(2), solver, gradient).rsample((5,))
    assert ((z == 0) | (z == 1)).all()
    assert not z.requires_grad
    assert gradient.value == "one-hot"


@members
def test_types_are_kept(make, solver, ones) -> None:
    for dtype in (torch.bfloat16, torch.float32):
        scores = torch.randn(2, 10, dtype=dtype, requires_grad=True)
        for hard in (False, True):
            z = law(scores, solver, make(0.5, hard=hard)).rsample((3,))
            assert z.dtype == dtype
            (gradient,) = torch.autograd.grad(z.sum(-2).square().sum(), scores)
            assert gradient.isfinite().all()


@members
def test_sharp_scores_have_finite_gradients(make, solver, ones) -> None:
    scores = (100 * scores_of(2, dtype=torch.float32)).detach().requires_grad_()
    z = law(scores, solver, make(0.8)).rsample((3,))
    (gradient,) = torch.autograd.grad((z * torch.arange(10.0)).sum(), scores)
    assert z.isfinite().all()
    assert gradient.isfinite().all()


@members
def test_transforms_of_functions(make, solver, ones) -> None:
    gradient = make(0.8)
    value = lambda scores: law(scores, solver, gradient).rsample((2,)).square().sum()  # noqa: E731
    scores = scores_of(3, dtype=torch.float32).detach()
    assert torch.func.grad(value)(scores).isfinite().all()
    assert torch.vmap(torch.func.grad(value), randomness="different")(scores).shape == (3, 10)
    leaf = scores.clone().requires_grad_()
    gradient.hard = True
    torch.compile(value, backend="aot_eager", fullgraph=True)(leaf).backward()
    assert leaf.grad.isfinite().all()
    assert pickle.loads(pickle.dumps(gradient)).temperature == 0.8


@pytest.mark.parametrize("name", ["SoftSub", "SoftSubset", "BinaryEntropySubset", "MaxOfConcretes"])
def test_masked_items_are_left_out(name) -> None:
    make, solver, _ = MEMBERS[name]
    scores, mask = scores_of(2), torch.arange(10).expand(2, 10) < torch.tensor([[7], [4]])
    z = PerturbAndMAP(scores, solver, gradient=make(0.5), instance={"mask": mask}).rsample((4,))
    assert (z[:, ~mask] == 0).all()
    (gradient,) = torch.autograd.grad(z.square().sum(), scores)
    assert (gradient[~mask] == 0).all()
    assert gradient.isfinite().all()


def test_what_is_no_relaxation_is_refused() -> None:
    with pytest.raises(ValueError, match="chooses one"):
        law(scores_of(), TopK(2), SoftChoice()).rsample()
    with pytest.raises(ValueError, match="number of ones k"):
        law(scores_of(), SpanningTree(), SoftSub()).rsample()
    with pytest.raises(ValueError, match="one k for all"):
        PerturbAndMAP(scores_of(2), TopK(2), gradient=SoftSub(), instance={"k": torch.tensor([1, 2])}).rsample()
    for solver in (SpanningTree(), Hypercube(), GridPath()):
        with pytest.raises(ValueError, match="chooses one"):
            law(torch.zeros(3, 3), solver, SoftChoice()).rsample()
    with pytest.raises(ValueError, match="complete graph"):
        law(torch.zeros(4), SpanningTree(), SoftTree()).rsample()
    for solver in (TopK(2), GridPath()):  # of three, as the edges of a triangle
        with pytest.raises(ValueError, match="finds the edges of spanning trees"):
            law(torch.zeros(3, 3), solver, SoftTree()).rsample()
    with pytest.raises(TypeError, match=r"got KSubset.*ByPerturbation\(SoftSub"):
        SoftSub().rsample(KSubset(torch.zeros(4), 2))
    for make in (SoftChoice, SoftSub, lambda t: SoftTree(max_range=t)):
        with pytest.raises(ValueError, match="must be positive"):
            make(0.0)
    with pytest.raises(ValueError, match="draws"):
        MaxOfConcretes(0)


def test_edges_that_do_not_exist_stay_so() -> None:
    scores = torch.tensor([1.0, -torch.inf, 2.0])  # of a triangle
    z = law(scores, SpanningTree(), SoftTree(max_range=1.0)).rsample((5,))
    torch.testing.assert_close(z, torch.tensor([1.0, 0.0, 1.0]).expand(5, 3))


def test_one_draw_sums_to_one() -> None:
    z = law(scores_of(2), TopK(3), MaxOfConcretes(1, 0.5)).rsample((4,))
    torch.testing.assert_close(z.sum(-1), torch.ones(4, 2, dtype=z.dtype))


def test_bits_of_rows_that_are_left_out_in_part() -> None:
    scores = torch.tensor([[0.3, -torch.inf, 1.0, -2.0], [0.3, -torch.inf, -torch.inf, 2.0]], requires_grad=True)
    z = bits_that_sum_to(scores, 2)
    torch.testing.assert_close(z[0, [0, 2, 3]], bits_that_sum_to(scores[0, [0, 2, 3]], 2))
    assert z[1].tolist() == [1.0, 0.0, 0.0, 1.0]
    (gradient,) = torch.autograd.grad(z.square().sum(), scores)
    assert gradient.isfinite().all()
    with pytest.raises(ValueError, match="instance 1: expected at least k = 3"):
        bits_that_sum_to(scores, 3)


def test_bits_solve_their_program() -> None:
    """Against the logits of bits: they are the scores less a number, which is the same for all."""
    for k in (0, 1, 4, 10):
        scores = scores_of(3)
        z = law(scores, TopK(k), BinaryEntropySubset(0.5), torch.zeros(3, 10)).rsample()
        torch.testing.assert_close(z.sum(-1), torch.full((3,), float(k), dtype=z.dtype))
        if 0 < k < 10:
            threshold = 2 * scores - z.logit()
            torch.testing.assert_close(threshold, threshold[:, :1].expand(3, 10))
