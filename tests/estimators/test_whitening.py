from __future__ import annotations

import pytest
import torch
from golden_icebeem import load

from logprob.estimators import Whitening


def test_the_reference_up_to_signs():
    case = load("whitening")
    whitening = Whitening(case["x"])
    white = whitening(case["x"])
    signs = (white * case["white"]).sum(0).sign()
    torch.testing.assert_close(white * signs, case["white"], atol=1e-9, rtol=0)
    torch.testing.assert_close(whitening.matrix * signs[:, None], case["W"], atol=1e-9, rtol=0)
    torch.testing.assert_close(whitening.mean, case["mean"], atol=1e-9, rtol=0)
    torch.testing.assert_close(whitening.inverse(white), case["x"], atol=1e-9, rtol=0)


def test_dependent_columns_are_refused():
    x = torch.randn(50, 2, dtype=torch.float64)
    dependent = torch.cat([x, x.sum(1, keepdim=True)], 1)
    with pytest.raises(ValueError, match="linear dependence"):
        Whitening(dependent)
    torch.testing.assert_close(Whitening(dependent, 2)(dependent).T.cov(), torch.eye(2, dtype=torch.float64))
