"""One number for several scores."""

import pickle

import pytest
import torch

from logprob.discrete.noise import Normal
from logprob.discrete.perturb_and_map import PerturbAndMAP
from logprob.discrete.shared_noise import SharedNoise, undirected
from logprob.discrete.solvers.top_k import TopK
from logprob.distributions import IntractableError


def test_groups_share_and_are_independent_otherwise() -> None:
    draws = SharedNoise((0, 1, 0, 2), Normal()).sample((20_000, 4), generator=torch.Generator().manual_seed(0))
    expected = torch.tensor([[1.0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]])
    torch.testing.assert_close(torch.cov(draws.T), expected, atol=0.05, rtol=0)
    assert torch.equal(draws[:, 0], draws[:, 2])


def test_both_directions_of_an_edge() -> None:
    n = 5
    noise = SharedNoise(undirected(n)).sample((3, n * (n - 1)))
    matrix = torch.zeros(3, n, n).masked_scatter(~torch.eye(n, dtype=torch.bool).expand(3, n, n), noise)
    assert torch.equal(matrix, matrix.mT)
    assert matrix[0].unique().numel() == n * (n - 1) // 2 + 1


def test_blocks_are_chosen_together() -> None:
    q = PerturbAndMAP(torch.zeros(6), TopK(2), SharedNoise((0, 0, 1, 1, 2, 2)))
    assert (q.sample((50,)).unflatten(-1, (3, 2)).diff(dim=-1) == 0).all()


def test_the_law_is_that_of_the_numbers() -> None:
    noise = SharedNoise([0, 0], Normal())
    assert (noise.mean, noise.std, noise.symmetric) == (0, 1, True)
    assert pickle.loads(pickle.dumps(noise)) == noise
    assert len({noise, SharedNoise((0, 0), Normal())}) == 1
    for ask in (noise.log_prob, noise.score):
        with pytest.raises(IntractableError, match="density"):
            ask(torch.zeros(2))


@pytest.mark.parametrize("groups", [(), (0, -1)])
def test_groups_are_checked(groups) -> None:
    with pytest.raises(ValueError, match="group"):
        SharedNoise(groups)


def test_number_of_scores_is_checked() -> None:
    with pytest.raises(ValueError, match="3 scores"):
        SharedNoise((0, 1)).sample((2, 3))


def test_compiled_and_in_half_precision() -> None:
    noise = SharedNoise((0, 1, 0))
    compiled = torch.compile(lambda x: x + noise.sample(x.shape), backend="aot_eager", fullgraph=True)
    draws = compiled(torch.zeros(4, 3))
    assert torch.equal(draws[:, 0], draws[:, 2])
    assert noise.sample((3,), dtype=torch.bfloat16).dtype == torch.bfloat16
