"""Contract checks for your own distributions, transforms, objectives and solvers.

Each function raises ``AssertionError`` that names the clause that is broken; call it from a test of your project.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from logprob.batch import Batch
from logprob.discrete.solvers import Solver
from logprob.distributions import DistributionModule, IntractableError, UnnormalizedDistribution
from logprob.objectives import Objective
from logprob.transforms import Transform

__all__ = ["check_distribution", "check_objective", "check_solver", "check_transform"]


def check_distribution(
    make: Callable[[], DistributionModule],
    value: Tensor,
    *,
    nodes: Tensor | None = None,
    node_weights: Tensor | None = None,
    tolerance: float = 1e-6,
    context: Tensor | None = None,
    compile_backend: str = "aot_eager",
) -> None:
    """Check a module and the distribution it makes against the contract of :mod:`logprob.distributions`.

    Shapes of log_prob, sample, rsample and expand; ``log_prob = unnormalized_log_prob - log_partition``; the mass of
    the density; dtype and device following the parameters; a finite gradient that reaches every parameter; pickle
    and state_dict round trips with bit-equal log_prob; ``torch.func.vmap`` and ``torch.compile`` as one graph.

    Args:
        make: builds a fresh module in float32; it is called several times.
        value: points of the support, ``(N, *event)``, in general position (every parameter should matter).
        nodes: points over which the density sums or integrates to one, ``(M, *event)``: all states of a discrete
            distribution, or the nodes of a quadrature rule.
        node_weights: weights of that rule, ``(M,)``; ones if omitted.
        tolerance: allowed difference of the mass from one, in float64.
        context: what a conditional module is called with.
        compile_backend: backend of ``torch.compile``; ``"inductor"`` needs a C++ compiler.

    Raises:
        AssertionError: naming the clause.

    Example:
        >>> import torch
        >>> from logprob.circuits import Categorical, Circuit, linear_tree
        >>> states = torch.cartesian_prod(*[torch.arange(2)] * 3)
        >>> check_distribution(lambda: Circuit(linear_tree(3), Categorical(2), units=2), states, nodes=states)
    """
    module = make()
    distribution = module(context)
    _check_shapes(distribution, value)
    _check_decomposition(distribution, value)
    _check_precision_and_device(make, value, context)
    _check_gradients(module, value, context)
    _check_sampling(distribution)
    _check_expand(distribution, value)
    _check_copies(make, module, value, context)
    _check_fresh(make, module, value, context)
    _check_vmap(distribution, value)
    _check_compile(module, value, context, compile_backend)
    if nodes is not None:
        weights = torch.ones(len(nodes)) if node_weights is None else node_weights
        double = make().double()
        double.load_state_dict(module.state_dict())
        given = None if context is None else _cast(context, torch.float64)
        mass = (double(given).log_prob(_cast(nodes, torch.float64)).exp() * weights.double()).sum()
        _require(bool((mass - 1).abs() <= tolerance), f"the density must have mass 1, got {mass.item()}")


def check_transform(transform: Transform, x: Tensor, *, tolerance: float = 1e-5) -> None:
    """Check that a transform inverts itself and that its log-determinant is that of autograd's Jacobian.

    Args:
        transform: the map.
        x: points of the domain, ``(N, *event)``, in float64 for a sharp check.
        tolerance: absolute and relative tolerance.

    Raises:
        AssertionError: naming the clause.
    """
    y, ladj = transform.call_and_ladj(x)
    batch = x.shape[: x.dim() - transform.domain.event_dim]
    _require(ladj.shape == batch, f"ladj must have shape {tuple(batch)}, got {tuple(ladj.shape)}")
    _require(ladj.dtype == x.dtype and y.dtype == x.dtype, f"value and ladj must have dtype {x.dtype}")
    _close(transform(x), y, "transform(x) must equal the first of call_and_ladj", tolerance)
    _close(transform.log_abs_det_jacobian(x, y), ladj, "log_abs_det_jacobian must equal ladj", tolerance)
    _close(transform.inv(y), x, "the inverse must return x", tolerance)
    expected = torch.stack([_log_det(transform, row) for row in x.reshape(-1, *x.shape[len(batch) :])])
    _close(ladj.reshape(-1), expected, "ladj must be log|det| of the Jacobian", tolerance)
    _require(transform == copy.deepcopy(transform), "a transform must equal its copy, as the KL rules of torch ask")


def check_objective(objective: Objective, make: Callable[[], DistributionModule], batch: Batch) -> None:
    """Check that an objective gives a finite scalar loss whose gradient reaches every parameter, at any scale.

    Args:
        objective: the objective.
        make: builds a fresh module.
        batch: rows it can be evaluated on.

    Raises:
        AssertionError: naming the clause.
    """
    gradients = []
    state = make().state_dict()
    for scale in (1.0, 3.0):
        module = make()
        module.load_state_dict(state)
        torch.manual_seed(0)  # an objective may draw noise: the same for both scales
        value, metrics = objective(module, batch)
        _require(value.dim() == 0, f"the loss must be a scalar, got shape {tuple(value.shape)}")
        _require(bool(torch.isfinite(value)), f"the loss must be finite, got {value.item()}")
        for name, number in metrics.items():
            _require(not number.requires_grad, f"metric {name!r} is only logged: detach it")
        (scale * value).backward()
        _check_reached(module)
        gradients.append(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]))
    _close(gradients[1], 3 * gradients[0], "the gradient must scale with the loss", 1e-4)


def check_solver(
    solver: Solver,
    scores: Tensor,
    states: Tensor | None = None,
    *,
    instance: Mapping[str, Any] | None = None,
    compile_backend: str = "aot_eager",
) -> None:
    """Check a solver against the contract of :mod:`logprob.discrete.solvers`.

    Shape, type and device of the answers, of any batch shape, of no instances, and of scores that are not contiguous;
    no gradient, and no change of the scores; the same answer again, whatever the other instances of the batch are, and
    by a copy and a pickle; the best of all states, in float32, float64 and bfloat16; and, if the solver is made of
    torch operations, ``torch.vmap`` and ``torch.compile`` as one graph.

    Args:
        solver: the solver.
        scores: at least two instances, ``(B, *event)``; some with ties make the check sharper.
        states: all states, ``(M, *event)``; by default what ``solver.states`` lists, and no check if it cannot. Leave
            them out, or pass those that fit all instances, where ``instance`` changes the set of states.
        instance: further arguments of the solver; tensors have B in front.
        compile_backend: backend of ``torch.compile``; ``"inductor"`` needs a C++ compiler.

    Raises:
        AssertionError: naming the clause.

    Example:
        >>> import torch
        >>> from logprob.discrete.solvers.top_k import TopK
        >>> check_solver(TopK(2), torch.randint(0, 3, (5, 4)).float())
    """
    given = dict(instance or {})
    z = _check_answers(solver, scores, given)
    _check_instances(solver, scores, given, z)
    _check_solver_copies(solver, scores, given, z)
    if states is None and not given:
        states = _states_of(solver, scores.shape[1:])
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        _check_optimal(solver, scores.to(dtype), given, states)
    if solver.in_torch:
        _check_solver_transforms(solver, scores, given, z, compile_backend)
    if torch.cuda.is_available():
        there = {name: _map(value, Tensor.cuda) for name, value in given.items()}
        _same_answers(solver(scores.cuda(), **there).cpu(), z, "a GPU must give the answers of the CPU")


def _check_answers(solver: Solver, scores: Tensor, instance: dict[str, Any]) -> Tensor:
    given = scores.clone().requires_grad_()
    z = solver(given, **instance)
    _require(torch.equal(given, scores), "a solver must not change its scores")
    _require(z.shape == scores.shape, f"answers must have shape {tuple(scores.shape)}, got {tuple(z.shape)}")
    _require(not z.requires_grad, "answers must be without gradient: an estimator gives it")
    _require(bool(z.isfinite().all()), "answers must be finite")
    _require(not solver.binary or bool(((z == 0) | (z == 1)).all()), "answers of a binary solver must be 0 or 1")
    _same_answers(solver(scores, **instance), z, "the same scores must give the same answer again")
    return z


def _check_instances(solver: Solver, scores: Tensor, instance: dict[str, Any], z: Tensor) -> None:
    """Any batch shape, any neighbours in it, any strides."""
    for row in range(len(scores)):
        own = {name: value[row] if isinstance(value, Tensor) else value for name, value in instance.items()}
        one = solver(scores[row], **own)
        _same_answers(one, z[row], f"instance {row} must not depend on the others of its batch")
    views: dict[str, Callable[[Tensor], Tensor]] = {
        "batch of two dimensions": lambda x: x.unsqueeze(1),
        "reversed batch": lambda x: x.flip(0),
        "batch of no instances": lambda x: x[:0],
        "batch that is not contiguous": lambda x: torch.stack([x, x], -1)[..., 0],
    }
    for name, view in views.items():
        got = solver(view(scores), **{key: _map(value, view) for key, value in instance.items()})
        _same_answers(got, view(z), f"a {name} must give the same answers")


def _check_solver_copies(solver: Solver, scores: Tensor, instance: dict[str, Any], z: Tensor) -> None:
    _same_answers(copy.deepcopy(solver)(scores, **instance), z, "a deep copy must give the same answers")
    _same_answers(pickle.loads(pickle.dumps(solver))(scores, **instance), z, "a pickle must give the same answers")


def _check_optimal(solver: Solver, scores: Tensor, instance: dict[str, Any], states: Tensor | None) -> None:
    z = solver(scores, **instance)
    _require(z.dtype == scores.dtype, f"answers to {scores.dtype} must be {scores.dtype}, got {z.dtype}")
    if states is None:
        return
    # Infinite scores times zeros are NaN; a large number ranks the states alike.
    wide, every = scores.double().nan_to_num(posinf=1e6, neginf=-1e6).flatten(1), states.double().flatten(1)
    known = {tuple(state) for state in every.tolist()}
    missing = [row for row, answer in enumerate(z.double().flatten(1).tolist()) if tuple(answer) not in known]
    _require(not missing, f"answers must be states; instances {missing[:5]} are none, in {scores.dtype}")
    values = wide @ every.T if solver.maximize else -(wide @ every.T)
    value = (wide * z.double().flatten(1)).sum(-1) * (1 if solver.maximize else -1)
    short = (values.amax(-1) - value).clamp(min=0)
    tolerance = 1e-5 * (1 + wide.abs().amax(-1))
    _require(bool((short <= tolerance).all()), f"answers must be optimal; {short.max().item()} short in {scores.dtype}")


def _check_solver_transforms(
    solver: Solver, scores: Tensor, instance: dict[str, Any], z: Tensor, compile_backend: str
) -> None:
    rows = {name: value for name, value in instance.items() if isinstance(value, Tensor)}
    rest = {name: value for name, value in instance.items() if name not in rows}
    mapped = torch.func.vmap(lambda x, tensors: solver(x, **tensors, **rest))(scores, rows)
    _same_answers(mapped, z, "torch.func.vmap must give the same answers")
    torch.compiler.reset()  # the caller may check many solvers; each compiles the same lines
    compiled = torch.compile(lambda x: solver(x, **instance), backend=compile_backend, fullgraph=True)
    _same_answers(compiled(scores), z, "torch.compile must give the same answers")


def _states_of(solver: Solver, event_shape: torch.Size) -> Tensor | None:
    try:
        return solver.states(event_shape)
    except IntractableError:
        return None


def _map(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return change(value) if isinstance(value, Tensor) else value


def _same_answers(got: Tensor, expected: Tensor, clause: str) -> None:
    what = f"{clause}; expected {tuple(expected.shape)}, {expected.dtype}, got {tuple(got.shape)}, {got.dtype}"
    _require(got.shape == expected.shape and got.dtype == expected.dtype, what)
    _require(torch.equal(got, expected), f"{clause}; {int((got != expected).sum())} entries differ")


def _density(distribution: Distribution) -> Callable[[Tensor], Tensor]:
    """``log_prob``, or the unnormalised one of a distribution whose normaliser is intractable."""
    if isinstance(distribution, UnnormalizedDistribution) and not _has_partition(distribution):
        return distribution.unnormalized_log_prob
    return distribution.log_prob


def _check_shapes(distribution: Distribution, value: Tensor) -> None:
    batch = distribution.batch_shape
    density = _density(distribution)
    for points in (value, value.expand(2, *value.shape) if not batch else value):
        expected = points.shape[: points.dim() - len(distribution.event_shape)]
        got = density(points).shape
        _require(got == expected, f"log_prob must have shape {tuple(expected)}, got {tuple(got)}")


def _check_decomposition(distribution: Distribution, value: Tensor) -> None:
    if not isinstance(distribution, UnnormalizedDistribution):
        return
    try:
        log_partition = distribution.log_partition
    except IntractableError:
        return
    shape = tuple(log_partition.shape)
    _require(shape == tuple(distribution.batch_shape), f"log_partition must have the batch shape, got {shape}")
    difference = distribution.unnormalized_log_prob(value) - log_partition
    _close(
        distribution.log_prob(value),
        difference,
        "log_prob must be unnormalized_log_prob - log_partition",
        1e-4,
    )


def _check_precision_and_device(make: Callable[[], DistributionModule], value: Tensor, context: Tensor | None) -> None:
    devices = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
    for device in devices:
        for dtype in (torch.float32, torch.float64):
            module = make().to(device=device, dtype=dtype)
            inputs = None if context is None else _cast(context, dtype).to(device)
            log_prob = _density(module(inputs))(_cast(value, dtype).to(device))
            _require(log_prob.dtype == dtype, f"log_prob of a {dtype} module must be {dtype}, got {log_prob.dtype}")
            _require(log_prob.device.type == device, f"log_prob must stay on {device}, got {log_prob.device}")


def _check_gradients(module: DistributionModule, value: Tensor, context: Tensor | None) -> None:
    module.zero_grad()
    _density(module(context))(value).sum().backward()
    _check_reached(module)


def _check_reached(module: torch.nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        _require(parameter.grad is not None, f"no gradient reaches parameter {name!r}")
        gradient = parameter.grad if parameter.grad is not None else torch.zeros(())
        _require(bool(torch.isfinite(gradient).all()), f"the gradient of {name!r} must be finite")
        _require(bool((gradient != 0).any()), f"the gradient of {name!r} is zero everywhere")


def _check_sampling(distribution: Distribution) -> None:
    for draw in (distribution.sample, distribution.rsample):
        for shape in ((), (2, 3)):
            expected = (*shape, *distribution.batch_shape, *distribution.event_shape)
            try:
                got = draw(torch.Size(shape)).shape
            except NotImplementedError:
                continue
            _require(tuple(got) == expected, f"{draw.__name__} must have shape {expected}, got {tuple(got)}")


def _check_expand(distribution: Distribution, value: Tensor) -> None:
    if distribution.batch_shape:
        return
    wide = distribution.expand(torch.Size((len(value),)))
    _require(wide.batch_shape == (len(value),), f"expand must set the batch shape, got {tuple(wide.batch_shape)}")
    _require(torch.equal(_density(wide)(value), _density(distribution)(value)), "expand must not change log_prob")


def _check_copies(
    make: Callable[[], DistributionModule], module: DistributionModule, value: Tensor, context: Tensor | None
) -> None:
    with torch.no_grad():
        expected = _density(module(context))(value)
        fresh = make()
        buffer = io.BytesIO()
        torch.save(module.state_dict(), buffer)
        buffer.seek(0)
        fresh.load_state_dict(torch.load(buffer, weights_only=True))
        for what, other in _copies(module, fresh, context):
            _require(torch.equal(_density(other)(value), expected), f"{what} must give bit-equal log_prob")


def _copies(
    module: DistributionModule, loaded: DistributionModule, context: Tensor | None
) -> Iterator[tuple[str, Distribution]]:
    yield "a state_dict round trip", loaded(context)
    yield "a deep copy", copy.deepcopy(module)(context)
    yield "a pickled module", pickle.loads(pickle.dumps(module))(context)
    yield "a pickled distribution", pickle.loads(pickle.dumps(module(context)))


def _check_fresh(
    make: Callable[[], DistributionModule], module: DistributionModule, value: Tensor, context: Tensor | None
) -> None:
    """Nothing that the module keeps from an earlier call may outlive a change of its parameters."""
    changed, fresh = copy.deepcopy(module), make()
    with torch.no_grad():
        _density(changed(context))(value)
        for parameter in changed.parameters():
            parameter.mul_(1.1).add_(0.01)
        fresh.load_state_dict(changed.state_dict())
        same = torch.equal(_density(changed(context))(value), _density(fresh(context))(value))
    _require(same, "after a change of its parameters a module must give the density of the new ones")


def _check_vmap(distribution: Distribution, value: Tensor) -> None:
    if distribution.batch_shape:
        return
    with torch.no_grad():
        rows = torch.func.vmap(_density(distribution))(value)
        _close(rows, _density(distribution)(value), "torch.func.vmap over the rows must give log_prob", 1e-4)


def _check_compile(module: DistributionModule, value: Tensor, context: Tensor | None, backend: str) -> None:
    torch.compiler.reset()  # the caller may check many modules; each compiles the same lines
    compiled = torch.compile(lambda x: _density(module(context))(x), backend=backend, fullgraph=True)
    with torch.no_grad():
        _close(compiled(value), _density(module(context))(value), "torch.compile must give log_prob", 1e-4)


def _has_partition(distribution: UnnormalizedDistribution) -> bool:
    try:
        distribution.log_partition  # noqa: B018
    except IntractableError:
        return False
    return True


def _log_det(transform: Transform, row: Tensor) -> Tensor:
    jacobian = torch.func.jacrev(transform._call)(row)
    size = row.numel()
    return torch.linalg.slogdet(jacobian.reshape(-1, size))[1] if size else row.new_zeros(())


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value


def _close(got: Tensor, expected: Tensor, clause: str, tolerance: float) -> None:
    _require(got.shape == expected.shape, f"{clause}; shapes are {tuple(got.shape)} and {tuple(expected.shape)}")
    equal = torch.allclose(got, expected, rtol=tolerance, atol=tolerance)
    _require(equal, f"{clause}; the largest difference is {(got - expected).abs().max().item()}")


def _require(condition: bool, clause: str) -> None:
    if not condition:
        raise AssertionError(clause)
