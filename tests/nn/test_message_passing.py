"""Networks on complete graphs: against the reference weights, a slow decoder, and the exchange of vertices."""

from __future__ import annotations

import golden_discrete
import pytest
import torch

from logprob.nn import EdgeDecoder, EdgeEncoder, directed_edges

BLOCKS = {"vertex": 1, "edge": 2, "vertex_again": 3, "edge_again": 4}
NORM = ("weight", "bias", "running_mean", "running_var")


def reference_encoder(golden):
    state = {f"output.{part}": golden[f"w_enc_fc_out_{part}"] for part in ("weight", "bias")}
    for name, number in BLOCKS.items():
        for place, layer in ((0, "fc1"), (3, "fc2")):
            for part in ("weight", "bias"):
                state[f"{name}.layers.{place}.{part}"] = golden[f"w_enc_mlp{number}_{layer}_{part}"]
        state |= {f"{name}.norm.{part}": golden[f"w_enc_mlp{number}_bn_{part}"] for part in NORM}
        state[f"{name}.norm.num_batches_tracked"] = torch.zeros((), dtype=torch.long)
    encoder = EdgeEncoder(12, 1, hidden=4).double()
    encoder.load_state_dict(state)
    return encoder.eval()


def reference_decoder(golden, prediction_steps=1):
    state = {}
    for part in ("weight", "bias"):
        for kind, name in enumerate(("absent", "present")):
            for place, layer in ((0, "fc1"), (3, "fc2")):
                state[f"messages.{name}.{place}.{part}"] = golden[f"w_dec_msg_{layer}_{kind}_{part}"]
        for place, layer in ((0, "fc1"), (3, "fc2"), (5, "fc3")):
            state[f"step.{place}.{part}"] = golden[f"w_dec_out_{layer}_{part}"]
    decoder = EdgeDecoder(2, hidden=4, prediction_steps=prediction_steps).double()
    decoder.load_state_dict(state)
    return decoder.eval()


def test_the_encoder_is_that_of_the_reference():
    golden = golden_discrete.load("models_losses")
    logits = reference_encoder(golden)(golden["nri_x"].flatten(2))
    torch.testing.assert_close(logits, golden["nri_enc_logits"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("window", [1, 3])
def test_the_decoder_is_that_of_the_reference(window):
    golden = golden_discrete.load("models_losses")
    receivers, senders = directed_edges(5)
    edges = golden["nri_adj"][:, receivers, senders]
    positions = golden["nri_x"].transpose(1, 2)  # (B, T, n, 2)
    predicted = reference_decoder(golden, window)(positions, edges)
    torch.testing.assert_close(predicted.transpose(1, 2), golden[f"nri_dec_pred{window}"], rtol=0, atol=1e-10)
    again = reference_decoder(golden, 2)(positions, edges, prediction_steps=window)
    torch.testing.assert_close(again, predicted)


@pytest.mark.parametrize("skip_first", [False, True])
@pytest.mark.parametrize("window", [1, 2, 4, 7])
def test_windows_are_those_of_one_step_after_the_other(window, skip_first):
    torch.manual_seed(0)
    decoder = EdgeDecoder(hidden=5, prediction_steps=window, skip_first=skip_first).double()
    positions, edges = torch.randn(3, 6, 4, 2).double(), torch.rand(2, 3, 12).double()
    slow, here = [], None
    for time in range(5):
        here = positions[:, time] if time % window == 0 else here
        here = decoder(torch.stack([here, here], dim=-3), edges)[..., 0, :, :]
        slow.append(here)
    torch.testing.assert_close(decoder(positions, edges), torch.stack(slow, dim=-3))


def test_edges_follow_the_vertices():
    torch.manual_seed(0)
    encoder, x = EdgeEncoder(6, 2, hidden=8).double().eval(), torch.randn(3, 5, 6).double()
    order = torch.tensor([3, 0, 4, 1, 2])
    receivers, senders = directed_edges(5)
    tables = []
    for rows in (x, x[:, order]):
        table = torch.zeros(3, 5, 5, 2).double()
        table[:, receivers, senders] = encoder(rows).detach()
        tables.append(table)
    torch.testing.assert_close(tables[1], tables[0][:, order][:, :, order])


def test_edges_that_are_not_there_say_nothing_if_skipped():
    decoder, positions = EdgeDecoder(hidden=5, skip_first=True), torch.randn(1, 3, 4, 2)
    alone = torch.stack([decoder(positions[:, :, [v]], torch.zeros(1, 0)) for v in range(4)], dim=-2).squeeze(-3)
    torch.testing.assert_close(decoder(positions, torch.zeros(1, 12)), alone)


def test_every_part_takes_a_gradient():
    encoder, decoder = EdgeEncoder(6, hidden=8), EdgeDecoder(hidden=8, prediction_steps=2)
    positions = torch.randn(4, 3, 5, 2)
    edges = encoder(positions.transpose(1, 2).flatten(2)).squeeze(-1).sigmoid()
    (decoder(positions, edges) - positions[:, 1:]).square().sum().backward()
    parameters = [*encoder.parameters(), *decoder.parameters()]
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in parameters)


@pytest.mark.parametrize("make", [lambda: EdgeEncoder(0), lambda: EdgeDecoder(2, 0), lambda: EdgeDecoder(2, 3, 0)])
def test_bad_numbers_are_refused(make):
    with pytest.raises(ValueError, match="widths must be at least 1"):
        make()
