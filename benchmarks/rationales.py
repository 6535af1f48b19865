"""Rationales (L2X): which gradient finds the telling words, beside words at random and words of large gradients.

Trains the recipes ``aimle/l2x_planted`` and ``aimle/l2x_sst5`` with each gradient on equal updates, and prints one
Markdown table: mean and standard error over seeds on the test rows, of the epoch that was best on validation rows.
Each row is made of runs of the runner in ``--out``; a finished one is not run again, so this can be cut off and started
anew.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from logprob import experiments
from logprob.discrete import SelectivePredictor

RECIPES = {"l2x_planted": 5, "l2x_sst5": 10}  # with their k


class RandomWords(SelectivePredictor):
    """A control: sees k words at random."""

    def scores(self, x: Tensor) -> Tensor:
        """Random numbers; those of padding are the least."""
        return torch.where(x != 0, torch.rand(x.shape, device=x.device), -20.0)


class WholeText(SelectivePredictor):
    """A control: sees the mean of all words, and is explained by its gradient afterwards."""

    def scores(self, x: Tensor) -> Tensor:
        """``|<gradient, vector>|`` of each word; those of padding are the least."""
        with torch.enable_grad():
            vectors = self.words(x).detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self._read(x, vectors).sum(), vectors)
        return torch.where(x != 0, (gradient * vectors).sum(-1).abs().detach(), -20.0)

    def predict(self, x: Tensor, z: Tensor) -> Tensor:
        """The same for every choice ``z``."""
        return self._read(x, self.words(x)).expand(z.shape[:-1])

    def _read(self, x: Tensor, vectors: Tensor) -> Tensor:
        words = (x != 0).to(vectors.dtype)
        prediction: Tensor = self.predictor(vectors, words / words.sum(-1, keepdim=True))
        return prediction


def by_perturbation(gradient: str, **arguments: Any) -> dict[str, Any]:
    """A gradient of a perturbed solver, as recipes write it."""
    inner = {"class_path": gradient, "init_args": arguments}
    return {"class_path": "ByPerturbation", "init_args": {"gradient": inner, "noise": "Gumbel"}}


def published(k: int) -> dict[str, Any]:
    """I-MLE as published for this task: noise in the moved scores only."""
    gradient = by_perturbation("IMLE", step=1000.0, scaled=False, target_temperature=10.0)
    gradient["init_args"] |= {"noise": {"class_path": "SumOfGamma", "init_args": {"k": k}}, "temperature": 0.0}
    return gradient


GRADIENTS: dict[str, Any] = {
    "AIMLE": by_perturbation("AIMLE"),
    "I-MLE, step 1": by_perturbation("IMLE", step=1.0),
    "I-MLE, as published": published,
    "identity": by_perturbation("StraightThroughIdentity"),
    "SIMPLE": "StraightThroughMarginals",
    "SST": by_perturbation("SoftSubset", temperature=0.5),
    "SoftSub": by_perturbation("SoftSub", temperature=0.5),
    "leave-one-out, 4 samples": "LeaveOneOut",
}
# What is not learned here needs no gradient; SIMPLE's leaves scores alone that have no parameters.
CONTROLS = {"random words": "rationales.RandomWords", "whole text, gradient x input": "rationales.WholeText"}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--settings", nargs="+", default=[*GRADIENTS, *CONTROLS], choices=[*GRADIENTS, *CONTROLS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data-root", help="folder of the data files")
    parser.add_argument("--out", default="runs/rationales")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print("| setting |" + "".join(f" {recipe}: MSE x 100 | precision, % |" for recipe in options.recipes))
    print("|---|" + "---|---|" * len(options.recipes))
    for name in options.settings:
        print(f"| {name} |", end="", flush=True)
        for recipe in options.recipes:
            tests = [train(recipe, name, seed, options) for seed in options.seeds]
            print(f" {spread(tests, 'mse_x100')} | {spread(tests, 'subset_precision')} |", end="", flush=True)
        print()
    print(f"| constant; chance |{''.join(trivial(recipe, options) for recipe in options.recipes)}")


def train(recipe: str, name: str, seed: int, options: argparse.Namespace) -> Mapping[str, float]:
    """Test metrics of a run, which is made if it is not there."""
    changes: dict[str, Any] = {"seed": seed, "figures": None}
    if name in CONTROLS:
        changes |= {"model.class_path": CONTROLS[name]}
    gradient = GRADIENTS.get(name, "StraightThroughMarginals")
    changes["phases.0.objective.gradient"] = gradient(RECIPES[recipe]) if callable(gradient) else gradient
    changes["phases.0.objective.samples"] = 4 if name.startswith("leave-one-out") else 1
    place = {"out": options.out, "data_root": options.data_root, "imports": ["rationales"]}
    return experiments.run(f"aimle/{recipe}", changes, **place).metrics["test"]


def spread(tests: Sequence[Mapping[str, float]], metric: str) -> str:
    """Mean and standard error."""
    found = [test[metric] for test in tests]
    error = f" ± {statistics.stdev(found) / len(found) ** 0.5:.2f}" if len(found) > 1 else ""
    return f"{statistics.mean(found):.2f}{error}"


def trivial(recipe: str, options: argparse.Namespace) -> str:
    """What a constant prediction and random words come to, by calculation."""
    test = train(recipe, options.settings[0], options.seeds[0], options)
    return f" {test['mse_x100_constant']:.2f} | {test['subset_precision_chance']:.2f} |"


if __name__ == "__main__":
    main()
