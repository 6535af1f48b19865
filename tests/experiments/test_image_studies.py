"""Studies of image energies: protocols, controls, weights that are taken up, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from logprob.batch import Batch
from logprob.data import Digits
from logprob.experiments import run
from logprob.experiments.seeding import seed_everything
from logprob.experiments.studies import (
    ImageEnergies,
    RepresentationStudy,
    SemiSupervisedStudy,
    TransferStudy,
    Workbench,
)
from logprob.experiments.studies.pretraining import Frozen, features_of_rows, held_out_loss
from logprob.experiments.studies.representation import agreements
from logprob.experiments.studies.semi_supervised import accuracies_by_seed
from logprob.experiments.studies.transfer import transfer_line
from logprob.nn import ConvMLP, FullMLP
from logprob.objectives import DenoisingScoreMatching

SIGMA = 0.2


def network(variables, outputs):
    return FullMLP(variables, outputs, width=4)


def images(**changes):
    objective = DenoisingScoreMatching(sigma=SIGMA, reduction="paper")
    given = {"data": Digits(), "network": network, "features": 6, "objective": objective, "steps": 30, **changes}
    return ImageEnergies(**given)


def rows_of(study, bench):
    return [{**cell.settings, **row} for cell in study.cells(bench.seed) for row in study.run(cell, bench)]


@pytest.fixture
def bench(tmp_path):
    return Workbench(tmp_path, seed=3)


@pytest.mark.parametrize("protocol", ["audited", "paper"])
def test_transfer(bench, protocol):
    study = TransferStudy(images(), protocol, seeds=2, sizes=(20, 0), epochs=1)
    rows = rows_of(study, bench)
    controls = {"random features"} if protocol == "audited" else set()
    assert {row["method"] for row in rows} == {"pretraining", "transfer", "scratch"} | controls
    assert {row["seed"] for row in rows} == {3, 4}
    assert rows[0]["zero"] == pytest.approx(8 * SIGMA**2 / 2 * 1e4)  # width times variance, halved
    assert len({row["scored"] for row in rows}) == 1
    table = study.table(rows)
    assert set(table["transfer"]) == {"20", "all"}
    assert np.isfinite(list(table["scratch"].values())).all()
    assert set(study.drawings(rows)) == {"transfer.png"}
    assert transfer_line(rows, [20, 0]).count("pm") == 4
    assert transfer_line(rows, [20], latex=False).startswith("| ")


def test_frozen_features_stay_as_they_are():
    inner = FullMLP(4, 3, width=2, dropout=0.5)
    frozen = Frozen(inner).train()
    x = torch.rand(5, 4)
    assert not inner.training
    assert torch.equal(frozen(x), frozen(x))
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_transfer_learns_the_labels_alone(bench):
    study = TransferStudy(images(), seeds=1, sizes=(20,), epochs=2)
    data = study._rows(20, 0, bench)
    given = study.images.features_of(data)
    before = {name: value.clone() for name, value in given.state_dict().items()}
    model, _ = study._fitted("transfer", given, 20, 0, data, bench)
    assert all(torch.equal(before[name], value) for name, value in given.state_dict().items())
    seed_everything(0)
    study.images.features_of(data)
    assert not torch.equal(model.labels, study.images.conditional(given, data).labels)


def test_without_an_update_all_vectors_are_one(bench):
    study = TransferStudy(images(), seeds=1, sizes=(0,))
    data = study._rows(0, 0, bench)
    model, losses = study._fitted("transfer", study.images.features_of(data), 0, 0, data, bench)
    assert bool((model.labels == 1).all())
    assert len(losses) == -(-len(data.train.x) // 63)


def test_few_rows_are_as_the_protocol_says(bench):
    whole = images().load(bench, "8-9")
    first = TransferStudy(images(), "paper")._rows(30, 5, bench).train
    drawn = TransferStudy(images(), "audited")._rows(30, 5, bench).train
    assert torch.equal(first.context, whole.train.context[:30])
    share = whole.train.context.bincount() / len(whole.train.context) * 30
    assert (drawn.context.bincount() - share).abs().max() <= 1


def test_held_out_loss_of_an_energy_that_is_zero(bench):
    data = images().load(bench, "8-9")
    model = images().conditional(network(64, 6), data)
    with torch.no_grad():
        model.labels.zero_()
    noise = SIGMA * torch.randn(data.test.x.shape, generator=torch.Generator().manual_seed(7))
    loss = held_out_loss(model, data.test, SIGMA, (1, 8, 8), seed=7)
    assert loss == pytest.approx(1e4 * noise.square().sum(-1).mean().item() / 2 / 8, rel=1e-5)
    assert loss == held_out_loss(model, data.test, SIGMA, (1, 8, 8), seed=7)


def test_features_in_evaluation_mode_do_not_depend_on_other_rows(bench):
    data = images().load(bench, "8-9")
    model = images(network=lambda d, m: ConvMLP(d, m, image_shape=(1, 8, 8), width=4)).energy("conditional", data)
    x = data.test.x[:40]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    torch.testing.assert_close(features_of_rows(model, x), features_of_rows(model, x, size=7))
    noisy = features_of_rows(model, x, "train")
    assert not torch.allclose(noisy, features_of_rows(model, x))
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_batch_normalisation_is_for_the_published_protocol_only(bench):
    setup = images(network=lambda d, m: ConvMLP(d, m, image_shape=(1, 8, 8), width=4), steps=2)
    data = setup.load(bench, "8-9")
    with pytest.raises(ValueError, match="normalises over the batch"):
        setup.pretrained("conditional", "8-9", 0, bench, "audited", data)
    setup.pretrained("conditional", "8-9", 0, bench, "paper", data)


def test_weights_are_taken_up_and_no_others(bench, tmp_path):
    setup = images(steps=3)
    data = setup.load(bench, "0-7")
    trained = setup.pretrained("conditional", "0-7", 0, bench, "audited", data)
    (file,) = tmp_path.glob("*.safetensors")
    written = file.stat().st_mtime_ns
    elsewhere = Workbench(tmp_path / "other")
    again = images(steps=3, weights=str(tmp_path)).pretrained("conditional", "0-7", 0, elsewhere, "audited", data)
    assert file.stat().st_mtime_ns == written
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), again.parameters(), strict=True))
    with pytest.raises(ValueError, match="expected weights with settings"):
        images(steps=4, weights=str(tmp_path)).pretrained("conditional", "0-7", 0, elsewhere, "audited", data)


def test_seeds_differ_and_repeat(bench, tmp_path):
    setup = images(steps=3)
    data = setup.load(bench, "0-7")
    folders = [Workbench(tmp_path / name) for name in ("a", "b")]
    for folder in folders:
        folder.folder.mkdir()
    first, again = (setup.pretrained("conditional", "0-7", 0, folder, "audited", data) for folder in folders)
    other = setup.pretrained("conditional", "0-7", 1, bench, "audited", data)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.labels, other.labels)


@pytest.mark.parametrize(("protocol", "kinds", "count"), [("audited", 4, 4), ("paper", 2, 2)])
def test_semi_supervised(bench, protocol, kinds, count):
    study = SemiSupervisedStudy(images(), protocol, seeds=2, splits=4, repeats=2)
    rows = rows_of(study, bench)
    groups = accuracies_by_seed(rows)
    assert len(groups) == kinds
    assert [len(values) for values in groups["conditional"].values()] == [count, count]
    assert all(0 <= row["accuracy"] <= 1 for row in rows)
    if protocol == "audited":
        assert study.table(rows)["accuracy"]["pixels"] > 0.7  # eights and nines
        assert list(groups["pixels"]) == [3]


@pytest.mark.parametrize("protocol", ["audited", "paper"])
def test_representation(bench, protocol):
    study = RepresentationStudy(images(), protocol, seeds=3, dimensions=(2, 4))
    rows = rows_of(study, bench)
    kinds, sizes = (3, 2) if protocol == "audited" else (2, 1)
    assert len(rows) == kinds * sizes * 3  # pairs of three
    found = agreements(rows, "out")
    assert len(found) == kinds * (1 + sizes)
    assert {len(values) for values in found.values()} == {3}
    assert all(0 <= value <= 1 for values in found.values() for value in values)
    assert set(study.table(rows)["conditional, strong"]) >= {"mean", "median", "std", "best", "worst"}


def test_a_network_agrees_with_itself(bench):
    study = RepresentationStudy(images(), seeds=2, dimensions=(3,))
    data = study.images.load(bench, None)
    features = study._features("random", 0, data.test.x, data, bench)
    from logprob.metrics import representation_pairs

    (pair,) = representation_pairs([features, features.flip(-1) * 3], dimension=3)
    assert pair.strong.outside == pytest.approx(1)
    assert pair.weak.outside == pytest.approx(1)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: TransferStudy(seeds=0), "at least 1"),
        (lambda: TransferStudy(sizes=(-1,)), "at least 0"),
        (lambda: TransferStudy(protocol="both"), "'audited' or 'paper'"),
        (lambda: SemiSupervisedStudy(test=1.0), "in \\(0, 1\\)"),
        (lambda: RepresentationStudy(seeds=1), "at least 2 seeds"),
    ],
)
def test_what_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize("published", [False, True])
def test_the_result_says_what_was_scored(tmp_path, published):
    done = run("icebeem/images/transfer_digits", smoke=True, out=tmp_path, published=published)
    expected = "training loss of the last epoch" if published else "held-out denoising loss"
    assert done.summary["protocol"] == {"scored": expected, "selection": "none"}
    assert (done.folder / "figures" / "transfer.png").stat().st_size > 0


def test_batches_hold_labels(bench):
    data = images().load(bench, [9, 8])
    assert isinstance(data.train, Batch)
    assert data.train.context.unique().tolist() == [0, 1]
