"""The study of recovered sources: cells, rows and their scores, both protocols, controls, pictures, resuming."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin

from logprob.data import ica
from logprob.estimators import TCL, ConditionalFlowICA, FastICA, ICEBeeM, PublishedICEBeeM, ShuffledLabels
from logprob.experiments import resume, run
from logprob.experiments.figures.recovery import recovery_boxes, recovery_curves
from logprob.experiments.studies import Method, Reading, RecoveryStudy, Workbench
from logprob.experiments.studies.recovery import SMOKE, ready
from logprob.metrics import mcc

KINDS = {"s": "identity", "|s|": "abs", "s^2": "square"}


class Stages(TransformerMixin, BaseEstimator):
    """Its stages are better at different things; it learns nothing."""

    scored_ = "FastICA(flow.latent)"

    def __init__(self, layers=1, random_state=None):
        self.layers, self.random_state = layers, random_state

    def fit(self, X, y):
        return self

    def transform(self, X):
        return X

    def score(self, X, y):
        return 0.0

    def stages(self, X, y):
        return {"start": X, "round 1": X**2, "round 2": X + y[:, None]}


def study(*methods, **changes):
    given = {"laws": ("tcl",), "layers": (2,), "per_segment": (30,), "segments": 5, "dim": 2, "seeds": 1, "fresh": 20}
    return RecoveryStudy(methods, **{**given, "permutations": 19, **changes})


def rows_of(made, bench):
    return [{**cell.settings, **row} for cell in made.cells(bench.seed) for row in made.run(cell, bench)]


@pytest.fixture
def bench(tmp_path):
    return Workbench(tmp_path, smoke=True)


@pytest.fixture
def data():
    fitted = ica.tcl(5, 30, 2, 2, 1)
    return fitted, fitted.more(20, 1)


def test_cells():
    made = study(
        Method("a", FastICA()), Method("b", FastICA()), laws=("tcl", "imca"), layers=(2, 4), per_segment=(5, 9), seeds=3
    )
    names = [cell.name for cell in made.cells(seed=4)]
    assert len(set(names)) == len(names) == 2 * 2 * 2 * 3 * 2
    assert names[:3] == ["tcl-L2-n5-s4-a", "tcl-L2-n5-s4-b", "tcl-L2-n5-s5-a"]
    assert names[-1] == "imca-L4-n9-s6-b"


def test_a_row_holds_the_scores_of_both_parts_and_both_nulls(bench, data):
    (row,) = rows_of(study(Method("ICA", FastICA(), control=True)), bench)
    assert (row["scored"], row["readout"], row["selection"]) == ("x", "FastICA(x)", "none")
    assert row["control"]
    assert row["data"] == "tcl-L2-n30-s1"
    alone = FastICA(random_state=0).fit(data[0].x)
    assert row["fresh_score"] == pytest.approx(alone.score(data[1].x))
    for part, rows in zip(("fitted", "fresh"), data, strict=True):
        features = alone.transform(rows.x)
        for measure in ("pearson", "spearman"):
            for target, kind in KINDS.items():
                score = mcc(rows.sources, features, method=measure, target=kind, both=True).score
                assert row[f"{part}_{measure}_{target}"] == pytest.approx(score)
    for null in ("rows", "within"):
        for target, kind in KINDS.items():
            asked = {"target": kind, "both": True, "null": null, "groups": data[1].y, "permutations": 19}
            chance = mcc(data[1].sources, alone.transform(data[1].x), generator=0, **asked).null
            assert row[f"null_{null}_{target}"] == pytest.approx(chance.quantile)
            assert row[f"p_{null}_{target}"] == pytest.approx(chance.p_value)


def test_moduli_are_held_against_what_they_are(bench, data):
    (row,) = rows_of(study(Method("stages", Stages(), "moduli"), permutations=0), bench)
    assert row["fresh_pearson_s^2"] == pytest.approx(mcc(data[1].sources, data[1].x, target="square").score)
    assert not [name for name in row if name.startswith(("null", "p_"))]


def test_other_lines_of_one_fit(bench):
    method = Method("energy", ICEBeeM(), "moduli", also=[Reading("flow", "noise_features")])
    energy, flow = rows_of(study(method), bench)
    assert (energy["method"], energy["scored"], energy["selection"]) == ("energy", "energy.f", "heldout")
    assert (flow["method"], flow["scored"], flow["fit"]) == ("flow", "noise_features", "energy")
    assert energy["seconds"] == flow["seconds"]
    assert energy["fresh_pearson_s"] != flow["fresh_pearson_s"]


def test_by_the_paper_the_truth_chooses(bench, data):
    method = Method("stages", Stages(), oracle="stages")
    (row,) = rows_of(study(method, protocol="paper"), bench)
    assert (row["scored"], row["selection"]) == ("flow.latent", "oracle")
    for part, rows in zip(("fitted", "fresh"), data, strict=True):
        stages = Stages().stages(rows.x, rows.y).values()
        for target, kind in KINDS.items():
            found = [mcc(rows.sources, stage, target=kind, both=True).score for stage in stages]
            assert row[f"{part}_pearson_{target}"] == pytest.approx(max(found))
            asked = {"target": kind, "both": True, "null": "within", "groups": rows.y, "permutations": 19}
            nulls = [mcc(rows.sources, stage, generator=0, **asked).null for stage in stages]
            if part == "fresh":  # chance has the same choice
                highest = np.max([null.scores.numpy() for null in nulls], axis=0)
                assert row[f"null_within_{target}"] == pytest.approx(np.quantile(highest, 0.95))
                assert row[f"p_within_{target}"] == pytest.approx((1 + (highest >= max(found)).sum()) / 20)


def test_audited_the_truth_chooses_nothing(bench, data):
    (row,) = rows_of(study(Method("stages", Stages(), oracle="stages")), bench)
    assert row["selection"] == "none"
    assert row["fresh_pearson_s"] == pytest.approx(mcc(data[1].sources, data[1].x, both=True).score)


@pytest.mark.parametrize(("protocol", "part"), [("audited", "fresh"), ("paper", "fitted")])
def test_table_and_pictures(bench, protocol, part):
    methods = Method("ICA", FastICA(), control=True), Method("stages", Stages(), oracle="stages")
    sizes = {"layers": (1, 2, 3), "per_segment": (10, 20), "seeds": 2, "fresh": 4, "permutations": 0}
    made = study(*methods, protocol=protocol, laws=("imca",), **sizes)
    rows = rows_of(made, bench)
    table = made.table(rows)
    assert list(table) == ["s", "|s|", "s^2", "sd |s|", "seconds"]
    line = "imca L3 n20 stages"
    mine = [row for row in rows if (row["layers"], row["per_segment"]) == (3, 20)]
    mine = [row[f"{part}_pearson_|s|"] for row in mine if row["method"] == "stages"]
    assert table["|s|"][line] == pytest.approx(np.mean(mine))
    assert table["sd |s|"][line] == pytest.approx(np.std(mine))
    drawn = made.drawings(rows)
    names = ("sources", "moduli", "squares")
    assert set(drawn) == {f"{kind}-{name}.png" for kind in ("curves", "boxes") for name in names}
    for draw in drawn.values():
        figure = draw()
        assert [axis.get_title() for axis in figure.axes][-1] == "IMCA, 3 layers"
        assert f"{part} rows" in figure.get_supylabel()
        figure.canvas.draw()


def test_controls_are_dashed_and_every_method_is_named(bench):
    two = rows_of(study(Method("ICA", FastICA(), control=True), Method("m0", Stages()), permutations=0), bench)
    names = [f"m{number}" for number in range(12)]
    few = [two[0], *({**two[1], "method": name} for name in names)]
    rows = [{**row, "law": law, "layers": layers} for law in ("tcl", "imca") for layers in (2, 3) for row in few]
    rows = [row for row in rows if (row["law"], row["layers"], row["method"]) != ("tcl", 2, "m11")]  # a missing line
    curves = recovery_curves(rows, "s", "fitted_spearman")
    assert "fitted rows, Spearman" in curves.get_supylabel()
    lines = curves.axes[1].get_lines()
    assert [line.get_linestyle() for line in lines] == ["--"] + ["-"] * 12
    assert len({line.get_color() for line in lines}) == 13
    (legend,) = curves.legends
    assert [text.get_text() for text in legend.get_texts()] == ["ICA (control)", *names]
    boxes = recovery_boxes(rows, "s")
    labels = [[tick.get_text() for tick in axis.get_xticklabels()] for axis in boxes.axes]
    assert labels[0] == [""] * 13
    assert labels[2][:2] == ["ICA*", "m0"]


def test_the_estimator_is_cloned(bench):
    given = ShuffledLabels(TCL(layers=7, restarts=3))
    before = given.get_params()
    made = study(Method("shuffled", given, "moduli", control=True))
    (row,) = rows_of(made, bench)
    assert row["readout"] == "FastICA(tcl.features), labels shuffled"
    assert (row["scored"], row["selection"]) == ("tcl.features", "heldout")
    after = given.get_params()
    assert {name: str(value) for name, value in after.items()} == {name: str(value) for name, value in before.items()}
    assert not hasattr(given, "estimator_")


def test_what_an_estimator_is_told(tmp_path):
    real, quick = Workbench(tmp_path), Workbench(tmp_path, smoke=True)
    assert ready(ConditionalFlowICA(steps=70), 5, 4, real).get_params()["layers"] == 4
    made = ready(ShuffledLabels(TCL(restarts=3)), 5, 4, real)
    assert (made.random_state, made.estimator.layers, made.estimator.restarts) == (5, 4, 3)
    assert ready(ICEBeeM(), 5, 4, quick).noise_layers == 4
    made = ready(PublishedICEBeeM(blocks=10), 5, 4, quick, {"hidden": 16, "blocks": 5})
    assert (made.hidden, made.blocks, made.schedule) == (16, 1, SMOKE["schedule"])


def test_arguments_of_one_law_and_depth(bench):
    method = Method("stages", PublishedICEBeeM(readout="raw"), changes={"imca-L2": {"scored": "energy.f"}})
    rows = rows_of(study(method, laws=("tcl", "imca"), permutations=0), bench)
    assert [row["scored"] for row in rows] == ["flow.latent", "energy.f"]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: study(laws=("tcl", "other")), "laws must be of tcl, imca, got 'other'"),
        (lambda: study(protocol="other"), "protocol must be one of audited, paper, got 'other'"),
        (lambda: Method("a", FastICA(), "signs"), "estimate must be one of sources, moduli, got 'signs'"),
        (lambda: Reading("a", "transform", "signs"), "estimate must be one of"),
        (lambda: Method("a", FastICA(), oracle="candidates"), "FastICA has no method 'candidates'"),
        (lambda: Method("a", FastICA(), also=[Reading("b", "nothing")]), "FastICA has no method 'nothing'"),
    ],
)
def test_what_is_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_it_is_resumed(tmp_path):
    methods = [{"name": "ICA", "estimator": "FastICA", "control": True}, {"name": "raw", "estimator": "RawFeatures"}]
    small = {"laws": ["tcl"], "layers": [2], "per_segment": [10], "segments": 3, "seeds": 2, "fresh": 5}
    arguments = {"methods": methods, "permutations": 3, **small}
    recipe = {"title": "Small", "study": {"class_path": "RecoveryStudy", "init_args": arguments}}
    done = run(recipe, out=tmp_path)
    assert done.summary["protocol"] == {"scored": "x", "selection": "none"}
    file = done.folder / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    assert len(lines) == 4
    file.write_text("".join(lines[:2]) + lines[2][:30])
    (done.folder / "result.json").unlink()
    again = resume(done.folder)
    assert {name: again.metrics[name] for name in KINDS} == {name: done.metrics[name] for name in KINDS}
    assert file.read_text().splitlines(keepends=True)[:2] == lines[:2]


@pytest.mark.filterwarnings("ignore:FastICA did not converge")  # of features that nobody trained
@pytest.mark.parametrize(
    ("name", "scored", "selection"),
    [("paper", "flow.latent", "oracle"), ("audited", "energy.f", "heldout"), ("tcl_l2", "energy.f", "heldout")],
)
def test_recipes_say_what_was_scored(tmp_path, name, scored, selection):
    done = run(f"icebeem/sim/{name}", smoke=True, out=tmp_path)
    protocol = json.loads((done.folder / "result.json").read_text())["protocol"]
    assert scored in protocol["scored"]
    assert selection in protocol["selection"]
    assert ("oracle" in protocol["selection"]) == (name == "paper")
    assert any("FastICA" in line for line in done.metrics["|s|"])
