"""Networks on a complete graph: from what its vertices do to its edges, and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from logprob.nn.mlp import check_widths

START_BIAS = 0.1  # of all layers of the encoder, as published


def directed_edges(vertices: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Receivers and senders of the n (n - 1) directed edges, receiver by receiver.

    Example:
        >>> directed_edges(3)
        (tensor([0, 0, 1, 1, 2, 2]), tensor([1, 2, 0, 2, 0, 1]))
    """
    receivers, senders = (~torch.eye(vertices, dtype=torch.bool, device=device)).nonzero().unbind(-1)
    return receivers, senders


def pairs(vertices: Tensor) -> Tensor:
    """Sender beside receiver at every directed edge: ``(..., n, C)`` to ``(..., n (n - 1), 2 C)``."""
    receivers, senders = directed_edges(vertices.shape[-2], vertices.device)
    return torch.cat([vertices[..., senders, :], vertices[..., receivers, :]], dim=-1)


def incoming(edges: Tensor, vertices: int) -> Tensor:
    """Sum over the edges that lead to a vertex: ``(..., n (n - 1), C)`` to ``(..., n, C)``."""
    return edges.unflatten(-2, (vertices, vertices - 1)).sum(-2)


class _Block(nn.Module):
    """Two linear layers with ELU, then batch normalisation over all rows."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, outputs), nn.ELU(), nn.Dropout(dropout), nn.Linear(outputs, outputs), nn.ELU()
        )
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., inputs)`` to ``(..., outputs)``."""
        out: Tensor = self.layers(x)
        normed: Tensor = self.norm(out.flatten(0, -2))
        return normed.view_as(out)


class EdgeEncoder(nn.Module):
    """Scores of all directed edges of a complete graph, from features of its vertices.

    Every vertex is embedded, every edge made of the vertices at its ends; the edges that lead to a vertex are averaged
    into it, and every edge is made once more, beside what it was before. Vertices are exchangeable. Edges are in the
    order of :func:`directed_edges`.

    Args:
        inputs: features of a vertex.
        outputs: numbers for an edge.
        hidden: width.
        dropout: share of the hidden units that is left out in training.

    Raises:
        ValueError: for a number below one.

    References:
        Kipf, Fetaya, Wang, Welling and Zemel, "Neural Relational Inference for Interacting Systems", ICML 2018.

    Example:
        >>> EdgeEncoder(inputs=20, outputs=1, hidden=16)(torch.randn(3, 5, 20)).shape
        torch.Size([3, 20, 1])
    """

    def __init__(self, inputs: int, outputs: int = 1, hidden: int = 256, dropout: float = 0.0) -> None:
        super().__init__()
        check_widths([inputs, outputs, hidden])
        self.vertex = _Block(inputs, hidden, dropout)
        self.edge = _Block(2 * hidden, hidden, dropout)
        self.vertex_again = _Block(hidden, hidden, dropout)
        self.edge_again = _Block(3 * hidden, hidden, dropout)
        self.output = nn.Linear(hidden, outputs)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight)
                nn.init.constant_(layer.bias, START_BIAS)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, n, inputs)`` to ``(B, n (n - 1), outputs)``."""
        n = x.shape[-2]
        first = self.edge(pairs(self.vertex(x)))
        vertices = self.vertex_again(incoming(first, n) / n)
        out: Tensor = self.output(self.edge_again(torch.cat([pairs(vertices), first], dim=-1)))
        return out


class EdgeDecoder(nn.Module):
    """Where the vertices of a graph will be next, from where they are and from the edges between them.

    Every edge sends a message from its sender to its receiver; there is one network of messages for edges that are
    there and one for those that are not, and the edge indicator z weighs them, ``z m_1 + (1 - z) m_0``. A third network
    makes a step of a vertex's position and the sum of its messages.

    The first w steps of a window start from a true position and go on from what was predicted; then comes the next
    window. With w = 1 every step starts from a true position (teacher forcing).

    Args:
        dimensions: of a position.
        hidden: width.
        prediction_steps: w.
        dropout: share of the hidden units that is left out in training.
        skip_first: no messages along edges that are not there.

    Raises:
        ValueError: for a number below one.

    References:
        Kipf, Fetaya, Wang, Welling and Zemel, "Neural Relational Inference for Interacting Systems", ICML 2018.

    Example:
        >>> decoder = EdgeDecoder(hidden=16, prediction_steps=3)
        >>> decoder(torch.randn(4, 10, 5, 2), torch.ones(7, 4, 20)).shape  # 10 records of 5 vertices
        torch.Size([7, 4, 9, 5, 2])
    """

    def __init__(
        self,
        dimensions: int = 2,
        hidden: int = 256,
        prediction_steps: int = 10,
        dropout: float = 0.0,
        skip_first: bool = False,
    ) -> None:
        super().__init__()
        check_widths([dimensions, hidden, prediction_steps])
        self.prediction_steps = prediction_steps
        kinds = ("present",) if skip_first else ("absent", "present")
        self.messages = nn.ModuleDict({kind: _layers(2 * dimensions, hidden, hidden, dropout) for kind in kinds})
        self.step = nn.Sequential(*_layers(dimensions + hidden, hidden, hidden, dropout), nn.Linear(hidden, dimensions))

    def forward(self, positions: Tensor, edges: Tensor, prediction_steps: int | None = None) -> Tensor:
        """Predictions of all records but the first, ``(..., T - 1, n, d)``.

        Args:
            positions: ``(B, T, n, d)``.
            edges: indicators z of the directed edges, ``(..., B, n (n - 1))``.
            prediction_steps: w, instead of the decoder's own.
        """
        window = self.prediction_steps if prediction_steps is None else prediction_steps
        known = positions.shape[-3] - 1
        here = positions[..., :known:window, :, :]  # where the windows start
        weights = edges.unsqueeze(-2).unsqueeze(-1)  # the same in every window
        steps = []
        for _ in range(min(window, known)):
            here = self._next(here, weights)
            steps.append(here)
        return torch.stack(steps, dim=-3).flatten(-4, -3)[..., :known, :, :]

    def _next(self, positions: Tensor, weights: Tensor) -> Tensor:
        ends = pairs(positions)
        message = self.messages["present"](ends) * weights
        if "absent" in self.messages:
            message = message + self.messages["absent"](ends) * (1 - weights)
        received = incoming(message, positions.shape[-2])
        step: Tensor = self.step(torch.cat([positions.expand(*received.shape[:-1], -1), received], dim=-1))
        return positions + step


def _layers(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, outputs), nn.ReLU()
    )
