"""Activation normalisation: published arrays, and a state that survives every way of copying it."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from logprob.flows.flow import Flow
from logprob.flows.normalization import ActNorm
from logprob.testing import check_transform

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "snf" / "layers.npz", allow_pickle=False)
CLOSE = {"rtol": 1e-9, "atol": 1e-11}
SHAPES = {"vectors": (8, 3), "images": (4, 3, 2, 5)}
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


def golden(name):
    return torch.from_numpy(GOLDEN[name])


def ready(shape=(8, 3)):
    layer = ActNorm(3)
    layer(2 + 3 * torch.randn(shape))
    return layer


def saved(layer):
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def loaded(layer, **options):
    other = ActNorm(3)
    other.load_state_dict(saved(layer), **options)
    return other


COPIES = {
    "load_state_dict": loaded,
    "load_state_dict by assignment": lambda layer: loaded(layer, assign=True),
    "deepcopy": copy.deepcopy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
}
each_copy = pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES.keys())


def test_images_give_published_arrays():
    layer = ActNorm(4).double()
    z, ladj = layer(golden("an_x"))
    torch.testing.assert_close(z, golden("an_z"), **CLOSE)
    torch.testing.assert_close(ladj, golden("an_ldj"), **CLOSE)
    torch.testing.assert_close(layer.loc.detach(), golden("an_mu"), **CLOSE)
    torch.testing.assert_close(layer.log_scale.detach(), golden("an_log_s"), **CLOSE)
    z, ladj = layer(golden("an_x2"))
    torch.testing.assert_close(z, golden("an_z2"), **CLOSE)
    torch.testing.assert_close(ladj, golden("an_ldj2"), **CLOSE)
    torch.testing.assert_close(layer.inverse(golden("an_z2")), golden("an_xinv2"), **CLOSE)


def test_vectors_give_published_arrays():
    z, ladj = ActNorm(4).double()(golden("anfc_x"))
    torch.testing.assert_close(z, golden("anfc_z"), **CLOSE)
    torch.testing.assert_close(ladj, golden("anfc_ldj"), **CLOSE)


@each_shape
def test_contract(shape):
    layer = ready(shape).double()
    check_transform(layer.transform(event_dim=len(shape) - 1), torch.randn(shape, dtype=torch.float64))


@each_shape
def test_first_outputs_have_mean_zero_and_variance_one(shape):
    layer, x = ActNorm(3), 5 + 2 * torch.randn(shape)
    z = layer.initialize(x)
    columns = z.transpose(0, 1).flatten(1)
    torch.testing.assert_close(columns.mean(1), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(columns.std(1), torch.ones(3), rtol=0, atol=1e-5)
    assert torch.equal(layer(x)[0], z)


def test_only_the_first_batch_counts_unless_asked():
    layer = ready()
    loc = layer.loc.clone()
    layer(10 + torch.randn(8, 3))
    assert torch.equal(layer.loc, loc)
    layer.initialize(10 + torch.randn(8, 3))
    assert (layer.loc - loc).abs().min() > 1


def test_first_batch_already_has_gradients():
    layer = ActNorm(3)
    x = torch.randn(8, 3, requires_grad=True)
    z, ladj = layer(x)
    (z.pow(3).sum() - ladj.sum()).backward()
    assert all(tensor.grad.abs().max() > 0 for tensor in (x, layer.loc, layer.log_scale))


def test_a_constant_channel_stays_finite():
    z, ladj = ActNorm(2)(torch.ones(4, 2))
    assert torch.isfinite(z).all()
    assert torch.isfinite(ladj).all()


@each_copy
def test_copies_of_a_ready_layer_are_ready(copied):
    layer, x = ready(), torch.randn(4, 3)
    other = copied(layer).eval()
    assert torch.equal(other(x)[0], layer(x)[0])
    assert torch.equal(other(x)[1], layer(x)[1])


@each_copy
def test_copies_of_a_fresh_layer_are_fresh(copied):
    with pytest.raises(RuntimeError, match="initialize"):
        copied(ActNorm(3)).eval()(torch.randn(4, 3))


def test_loading_a_fresh_state_makes_a_ready_layer_fresh():
    layer = ready()
    layer.load_state_dict(ActNorm(3).state_dict())
    layer(7 + torch.randn(100, 3))
    assert (layer.loc > 5).all()


def test_use_before_initialization_says_what_to_do():
    layer = ActNorm(3)
    for call in (layer.eval(), layer.inverse):
        with pytest.raises(RuntimeError, match=r"initialize\(x\)"):
            call(torch.randn(4, 3))
    assert not layer.initialized


def test_a_distribution_does_not_initialize_its_copy_of_the_parameters():
    flow = Flow([ActNorm(3)], 3)
    with pytest.raises(RuntimeError, match=r"initialize\(x\)"):
        flow().log_prob(torch.randn(4, 3))
    flow.initialize(torch.randn(8, 3))
    assert torch.isfinite(flow().log_prob(torch.randn(4, 3))).all()


@pytest.mark.parametrize("use_buffers", [False, True])
def test_an_average_made_before_the_first_batch_is_ready_after_it(use_buffers):
    layer, x = ActNorm(3), torch.randn(4, 3)
    average = AveragedModel(layer, use_buffers=use_buffers)
    layer.initialize(2 + 3 * torch.randn(8, 3))
    average.update_parameters(layer)
    for call in (average, average.module.inverse):
        torch.testing.assert_close(call(x), (layer if call is average else layer.inverse)(x))
    assert average.module.initialized


def test_a_trained_state_may_be_borrowed_and_does_not_stay():
    trained, fresh, x = ready(), ActNorm(3).eval(), torch.randn(4, 3)
    state = {name: tensor.detach() for name, tensor in trained.state_dict().items()}
    assert torch.equal(torch.func.functional_call(fresh, state, (x,))[0], trained(x)[0])
    with pytest.raises(RuntimeError, match="initialize"):
        fresh(x)


def test_inside_functional_call_the_advice_is_to_initialize_the_flow_before():
    layer = ActNorm(3)
    state = {name: parameter.detach().clone() for name, parameter in layer.named_parameters()}
    with pytest.raises(RuntimeError, match=r"call flow.initialize\(x\) with a batch of data before"):
        torch.func.functional_call(layer, state, (torch.randn(4, 3),))


@each_shape
def test_vmap_and_compile_agree(shape):
    layer, x = ready(shape), torch.randn(shape)
    z, ladj = layer(x)
    torch.testing.assert_close(torch.func.vmap(lambda row: layer(row[None])[0][0])(x), z)
    torch.compiler.reset()
    compiled = torch.compile(lambda x: layer(x), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), (z, ladj))


def test_every_process_takes_the_values_of_the_first(monkeypatch):
    values = iter((torch.full((3,), 4.0), torch.full((3,), 0.5)))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "broadcast", lambda tensor, src: tensor.copy_(next(values)))
    layer = ready()
    assert layer.loc.tolist() == [4.0] * 3
    assert layer.log_scale.tolist() == [0.5] * 3


def test_errors():
    with pytest.raises(ValueError, match="channels must be at least 1, got 0"):
        ActNorm(0)
    for shape in ((3,), (2, 4), (2, 4, 3, 3)):
        with pytest.raises(ValueError, match=r"\(B, 3, ...\), got"):
            ActNorm(3)(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"two values a channel or more, got shape \(1, 3\)"):
        ActNorm(3)(torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"\(3, ...\), got \(4,\)"):
        ActNorm(3).output_shape((4,))
    assert ActNorm(3).output_shape((3, 2, 2)) == ActNorm(3).input_shape((3, 2, 2)) == (3, 2, 2)
