"""The command line: list, show, run, resume, evaluate, sample, demo."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from logprob.experiments.results import Result

_EXAMPLES = {
    "list": "logprob list",
    "show": "logprob show npc2/mring",
    "run": "logprob run npc2/mring --model.units 16 --seed 3\n"
    "  logprob run my_recipe.yaml --optimizer.lr 1e-2 --epochs 50\n"
    "  logprob run npc2/debd --data.name plants --data-root ~/data\n"
    "  logprob run npc2/mnist --smoke",
    "resume": "logprob resume runs/npc2-mring-1a2b3c4d-s0",
    "evaluate": "logprob evaluate runs/npc2-mring-1a2b3c4d-s0",
    "sample": "logprob sample runs/snf-selfnorm_fc_digits-1a2b3c4d-s0 --count 100",
    "demo": "logprob demo --out runs/demo",
}
_OVERRIDES = """
Any value of the recipe can be changed: --a.b VALUE sets the key b of a. The words init_args are left out
(--model.units 8, --model.graph.repetitions 4), and a number picks an item of a list (--phases.0.epochs 50).
In a recipe of one phase the keys of the phase stand alone (--epochs 50, --optimizer.lr 1e-3).
`logprob show RECIPE` prints the keys.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0, 1 (it failed) or 2 (what was asked for is wrong, nothing was started).

    Example:
        >>> main(["show", "no/such"])
        2
    """
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    try:
        words, overrides = _overrides(parser, words)
        args = parser.parse_args(words)
        args.overrides = overrides
        handler: Callable[[argparse.Namespace], int] = args.handler
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return handler(args)
    except KeyboardInterrupt:
        print("logprob: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `logprob list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        problem = _user_problem(error)
        if problem is None:
            raise
        code, message = problem
        print(f"logprob: error: {message}", file=sys.stderr)
        return code


def _show_warning(message: Warning | str, *where: Any, **more: Any) -> None:
    """One line, without the place in the source that Python would name."""
    _say(f"warning: {' '.join(str(message).split())}")


def _user_problem(error: Exception) -> tuple[int, str] | None:
    """Exit code and message of an error that a user can mend; None for a bug, whose traceback is wanted."""
    from logprob.data import CorruptDataError, MissingDataError
    from logprob.experiments.errors import RunError

    if isinstance(error, (MissingDataError, CorruptDataError)):
        return 2, str(error)  # several lines: where it was looked for, how to get it
    if isinstance(error, RunError):
        return error.exit_code, " ".join(str(error).split())
    return (1, str(error)) if isinstance(error, OSError) else None


def _overrides(parser: argparse.ArgumentParser, words: list[str]) -> tuple[list[str], list[tuple[str, object]]]:
    """Take the recipe's ``--a.b value`` out of the words of `run`; the other verbs have none."""
    if words[:1] != ["run"]:
        return words, []
    from logprob.experiments.overrides import split_overrides

    rest, overrides = split_overrides(words[1:], _run_options())
    return ["run", *rest], overrides


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        from logprob.experiments.errors import RecipeError

        raise RecipeError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="logprob", description="Train and evaluate what a recipe says.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def add(
        name: str, handler: Callable[[argparse.Namespace], int], about: str, more: str = ""
    ) -> argparse.ArgumentParser:
        verb = verbs.add_parser(
            name,
            help=about,
            description=about[0].upper() + about[1:] + ".",
            epilog=f"{more}\nexample:\n  {_EXAMPLES[name]}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        verb.set_defaults(handler=handler)
        return verb

    add("list", _list, "list the recipes that come with logprob")
    add("show", _show, "print a recipe").add_argument("recipe", help="name or path of a recipe")
    run = add("run", _run, "train and evaluate what a recipe says", _OVERRIDES)
    run.add_argument("recipe", help="name or path of a recipe")
    run.add_argument("--seed", type=int, help="seed of the run, by default that of the recipe")
    run.add_argument("--out", help="folder of the runs (default: runs; with --smoke a temporary one)")
    run.add_argument("--smoke", action="store_true", help="try it out in seconds, on rows that stand in for the data")
    run.add_argument("--published", action="store_true", help="do what the paper did where the recipe does otherwise")
    run.add_argument("--again", action="store_true", help="run in a new folder even if this run is there already")
    _add_common(run)
    _add_training(run)
    resume = add("resume", _resume, "take a run that was cut off to its end")
    resume.add_argument("run", help="folder of the run")
    resume.add_argument("--checkpoint", help="last or previous (default: the latest)")
    _add_common(resume)
    _add_training(resume)
    evaluate = add("evaluate", _evaluate, "compute the exact metrics of a run anew")
    evaluate.add_argument("run", help="folder of the run")
    evaluate.add_argument("--checkpoint", default="best", help="best, last or previous (default: best)")
    _add_common(evaluate)
    sample = add("sample", _sample, "draw samples of a run's model into its folder")
    sample.add_argument("run", help="folder of the run")
    sample.add_argument("--count", type=int, default=100, help="number of samples (default: 100)")
    sample.add_argument("--inverse", choices=["exact", "approximate"], default="exact", help="of a flow: which inverse")
    sample.add_argument("--checkpoint", default="best", help="best, last or previous (default: best)")
    sample.add_argument("--seed", type=int, default=0, help="seed of the samples (default: 0)")
    _add_common(sample)
    demo = add("demo", _demo, "train factorised, monotonic and squared circuits of equal size and compare them")
    demo.add_argument("--out", default="runs", help="folder of the runs (default: runs)")
    return parser


def _add_common(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--data-root", help="folder of data files, looked into before LOGPROB_DATA and the cache")
    verb.add_argument("--device", help="cpu, cuda, cuda:1 or auto (default: cpu, or that of the run)")
    verb.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="allow the recipe to use the classes of this module; can be given several times",
    )


def _add_training(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--checkpoint-every",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="time between checkpoints; 0 writes one every epoch (default: 30)",
    )
    verb.add_argument(
        "--logger",
        dest="loggers",
        action="append",
        default=[],
        metavar="NAME",
        help="csv, tensorboard or wandb: where to log besides metrics.jsonl; can be given several times",
    )
    verb.add_argument("--quiet", action="store_true", help="show no progress")


def _run_options() -> set[str]:
    """Options of `run` that are not the recipe's."""
    names = ["help", "seed", "out", "smoke", "published", "again", "data-root", "device"]
    names += ["import", "checkpoint-every", "logger", "quiet"]
    return {f"--{name}" for name in names}


def _list(args: argparse.Namespace) -> int:
    from logprob.experiments.recipe import find_recipe, read_recipe, recipe_names

    names = recipe_names()
    width = max(map(len, names), default=0)
    for name in names:
        print(f"{name:<{width}}  {read_recipe(find_recipe(name)).get('title', '')}")
    return 0


def _show(args: argparse.Namespace) -> int:
    from logprob.experiments.recipe import find_recipe

    print(find_recipe(args.recipe).read_text(encoding="utf-8"), end="")
    return 0


def _run(args: argparse.Namespace) -> int:
    from logprob.experiments.progress import show_progress
    from logprob.experiments.runner import run

    overrides = args.overrides + ([] if args.seed is None else [("seed", args.seed)])
    out = args.out or (tempfile.mkdtemp(prefix="logprob-smoke-") if args.smoke else "runs")
    with show_progress(args.quiet) as watcher:
        result = run(
            args.recipe,
            overrides,
            out=out,
            device=args.device or "cpu",
            again=args.again,
            smoke=args.smoke,
            published=args.published,
            **_training(args, watcher),
        )
    _print_result(result)
    if args.smoke:
        print("It ran. These numbers mean nothing: two updates a phase, on rows that stand in for the data.")
    return 0


def _resume(args: argparse.Namespace) -> int:
    from logprob.experiments.progress import show_progress
    from logprob.experiments.runner import resume

    with show_progress(args.quiet) as watcher:
        result = resume(
            args.run,
            checkpoint=args.checkpoint,
            device=args.device,
            **_training(args, watcher),
        )
    _print_result(result)
    return 0


def _training(args: argparse.Namespace, watcher: Any) -> dict[str, Any]:
    """Arguments that `run` and `resume` share."""
    return {
        "data_root": args.data_root,
        "imports": args.imports,
        "checkpoint_every": args.checkpoint_every,
        "loggers": args.loggers,
        "watchers": [watcher],
        "say": _say,
    }


def _evaluate(args: argparse.Namespace) -> int:
    from logprob.experiments.runner import evaluate_run
    from logprob.experiments.tables import metrics_table, print_table

    where = {"data_root": args.data_root, "device": args.device, "imports": args.imports}
    metrics = evaluate_run(args.run, checkpoint=args.checkpoint, **where)
    print_table(f"{args.run}, checkpoint {args.checkpoint}", metrics_table(metrics))
    return 0


def _sample(args: argparse.Namespace) -> int:
    from logprob.experiments.sample import sample_run

    where = {"data_root": args.data_root, "device": args.device, "imports": args.imports}
    files = sample_run(args.run, args.count, inverse=args.inverse, checkpoint=args.checkpoint, seed=args.seed, **where)
    for path in files:
        print(path)
    return 0


def _demo(args: argparse.Namespace) -> int:
    from logprob.experiments.demo import demo

    return demo(args.out, _say)


def _print_result(result: Result) -> None:
    from logprob.experiments.tables import metrics_table, print_table

    print_table(result.summary["title"], metrics_table(result.metrics))
    timing = result.summary["timing"]
    if "cells" in result.summary:
        print(f"{result.summary['cells']} cells, {timing['train_seconds']:.1f} s; everything is in {result.folder}")
        return
    print(
        f"{result.summary['parameters']} parameters, {result.summary['epochs']} epochs, "
        f"{timing['train_seconds']:.1f} s; everything is in {result.folder}"
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
