"""Steps of iVAE and of the TCL network: sixteen restarts in one batch beside one, and beside plain torch.

All sides take turns in one process on one thread, so that a busy machine slows them alike. A step is: take a
minibatch, loss, gradient, update. The plain iVAE has a network of `nn.Linear` for each of its four functions, one-hot
labels into the prior of every row, three `torch.distributions`, and Adam as it comes.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from timing import Step, Turns, processor, ratio, take_turns
from torch import Tensor, nn
from torch.distributions import Normal

from logprob.energy import IVAE, TCL

ROWS, FEATURES, CONDITIONS = 10_000, 5, 20
X, Y = torch.randn(ROWS, FEATURES), torch.randint(CONDITIONS, (ROWS,))


def ivae(copies: int) -> Step:
    """Minibatches of 256, as published."""
    model = IVAE(FEATURES, CONDITIONS, copies=copies)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)

    def step() -> None:
        index = torch.randint(ROWS, (256,))
        optimizer.zero_grad()
        (-model.elbo(X[index], Y[index]).mean(-1)).sum().backward()
        optimizer.step()

    return step


def tcl(copies: int) -> Step:
    """Minibatches of 512, as published."""
    model = TCL(FEATURES, CONDITIONS, copies=copies)
    optimizer = torch.optim.SGD(model.parameters(), 1e-2, momentum=0.9, fused=True)

    def step() -> None:
        index = torch.randint(ROWS, (512,))
        optimizer.zero_grad()
        (-model.log_prob(X[index], Y[index]).mean(-1)).sum().backward()
        optimizer.step()

    return step


def network(inputs: int) -> nn.Sequential:
    """Three linear layers with leaky ReLUs."""
    leaky = nn.LeakyReLU(0.1)
    return nn.Sequential(nn.Linear(inputs, 10), leaky, nn.Linear(10, 10), leaky, nn.Linear(10, FEATURES))


def plain_ivae() -> Step:
    """One iVAE as one would write it down."""
    prior, decoder = network(CONDITIONS), network(FEATURES)
    mean, log_variance = network(FEATURES + CONDITIONS), network(FEATURES + CONDITIONS)
    optimizer = torch.optim.Adam(nn.ModuleList([prior, decoder, mean, log_variance]).parameters(), 1e-3)

    def bound(x: Tensor, labels: Tensor) -> Tensor:
        both = torch.cat([x, labels], 1)
        q = Normal(mean(both), (log_variance(both) / 2).exp())
        z = q.rsample()
        p = Normal(torch.zeros_like(z), (prior(labels) / 2).exp())
        return (Normal(decoder(z), 0.1).log_prob(x) + p.log_prob(z) - q.log_prob(z)).sum(1)

    def step() -> None:
        index = torch.randint(ROWS, (256,))
        optimizer.zero_grad()
        (-bound(X[index], nn.functional.one_hot(Y[index], CONDITIONS).float()).mean()).backward()
        optimizer.step()

    return step


def report(turns: Turns) -> None:
    """Milliseconds, and the ratios that are asked for."""
    for name, values in turns.items():
        print(f"{name:24s} {statistics.median(values):7.3f} ms")
    print("iVAE, 16 restarts / 1   ", ratio(turns, "iVAE, 16 restarts", "iVAE, 1 restart"))
    print("TCL, 16 restarts / 1    ", ratio(turns, "TCL, 16 restarts", "TCL, 1 restart"))
    print("plain iVAE / iVAE       ", ratio(turns, "iVAE, plain torch", "iVAE, 1 restart"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--repeats", type=int, default=40, help="calls whose median is one round")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{processor()}, torch {torch.__version__}, 1 thread, CPU time")
    steps = {
        "iVAE, plain torch": plain_ivae(),
        "iVAE, 1 restart": ivae(1),
        "iVAE, 16 restarts": ivae(16),
        "TCL, 1 restart": tcl(1),
        "TCL, 16 restarts": tcl(16),
    }
    report(take_turns(steps, arguments.rounds, arguments.repeats, warm_up=20))


if __name__ == "__main__":
    main()
