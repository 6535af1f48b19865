"""Recovery of sources as a metric of runs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from logprob.batch import Batch
from logprob.metrics import SourceRecovery, mcc

S = torch.randn(90, 3, generator=torch.Generator().manual_seed(0))
X = S @ torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.5], [0.5, 0.0, 1.0]])
Y = torch.arange(90) % 3
ROWS = Batch(X, Y, S)


def model(features):
    return SimpleNamespace(features=features)


def test_all_targets_and_methods():
    metric = SourceRecovery(method=["pearson", "spearman"], batch_size=40)
    state = torch.get_rng_state()
    found = metric(model(lambda x: x.requires_grad_(False)), ROWS)
    assert torch.equal(state, torch.get_rng_state())
    targets = ("identity", "abs", "square")
    assert list(found) == [f"mcc_{method}_{target}" for method in ("pearson", "spearman") for target in targets]
    for name, value in found.items():
        _, method, target = name.split("_")
        assert value == mcc(S, X, method=method, target=target).score
    both = SourceRecovery(target="abs", both=True)(model(lambda x: x), ROWS)
    assert both == {"mcc_pearson_abs_both": mcc(S, X, target="abs", both=True).score}


def test_null():
    found = SourceRecovery("abs", null="within", permutations=20, seed=3)(model(lambda x: x), ROWS)
    want = mcc(S, X, target="abs", null="within", groups=Y, permutations=20, generator=3)
    assert found == {
        "mcc_pearson_abs": want.score,
        "mcc_pearson_abs_null_mean": want.null.mean,
        "mcc_pearson_abs_null_quantile95": want.null.quantile,
        "mcc_pearson_abs_null_p": want.null.p_value,
    }


def test_copies_are_averaged():
    found = SourceRecovery("identity", batch_size=25)(model(lambda x: torch.stack([x, x**2, -x])), ROWS)
    scores = torch.tensor([mcc(S, z).score for z in (X, X**2, X)])
    assert found["mcc_pearson_identity"] == pytest.approx(scores.mean().item(), abs=1e-6)
    assert found["mcc_pearson_identity_sd"] == pytest.approx(scores.std().item(), abs=1e-6)


def test_features_that_depend_on_the_label():
    metric = SourceRecovery("identity", with_context=True, batch_size=7)
    found = metric(model(lambda x, y: x * (1 + y).unsqueeze(-1)), ROWS)
    assert found["mcc_pearson_identity"] == pytest.approx(mcc(S, X * (1 + Y).unsqueeze(-1)).score, abs=1e-12)


def test_what_is_missing():
    with pytest.raises(ValueError, match="sources as target"):
        SourceRecovery()(model(lambda x: x), Batch(X, Y))
    for metric in (SourceRecovery(null="within"), SourceRecovery(with_context=True)):
        with pytest.raises(ValueError, match="labels as context"):
            metric(model(lambda x: x), Batch(X, target=S))
