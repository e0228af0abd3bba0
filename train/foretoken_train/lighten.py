"""Makes a predictor cheaper: predicted tokens leave out the MLPs of some layers.

The maps and bridges behind these layers are fitted in closed form to what the predictor had there: the
states that its runs began with, and the K and V that it predicted. Its distilling is kept that way.
"""

import argparse
import random
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Base
from .data import Corpus
from .plan import Plan, Run
from .predictor import Predictor, read_predictor, write_predictor
from .tokens import Tokens


def main() -> None:
    options = _options()
    torch.set_grad_enabled(False)
    base = Base(options.base)
    predictor, header = read_predictor(options.start)
    plan = lighter(predictor.plan, set(options.layers))
    if options.window_share is not None:
        plan = replace(plan, window_share=options.window_share)
    if options.window_most is not None:
        plan = replace(plan, window_most=options.window_most)
    texts = texts_of(Corpus(options.data, Tokens(base.reader), held_out=False), options)
    light = Fit(base, predictor, plan, texts, options.ridge).predictor
    record = {"layers": options.layers, "tokens": sum(map(len, texts)), "seed": options.seed, "ridge": options.ridge}
    training = header["training"] | {"lightened": record}
    write_predictor(options.out, light, header | {"version": plan.version(), "plan": header["plan"] | plan.header(), "training": training})


def lighter(plan: Plan, layers: set[int]) -> Plan:
    """Returns the plan with the attention alone of `layers`, each of which is run, or is one of the last shared ones."""
    shared = plan.shared
    while shared - 1 in layers:
        shared -= 1
    before = tuple(Run(layer, layer + 1, False) for layer in range(shared, plan.shared))
    runs = before + tuple(Run(layer, layer + 1, run.mlp and layer not in layers) for run in plan.runs for layer in range(run.first, run.end))
    unknown = layers - {layer for run in runs for layer in range(run.first, run.end)}
    if unknown or any(plan.taps) or shared < 1:
        raise ValueError(f"layers {sorted(unknown) or sorted(layers)} cannot be lightened in this plan, or it has taps")
    return replace(plan, shared=shared, runs=runs, taps=(0,) * (len(runs) + 1))


def texts_of(corpus: Corpus, options: argparse.Namespace) -> list[Tensor]:
    documents = corpus.documents(options.seed, options.longest)
    texts: list[Tensor] = []
    while sum(map(len, texts)) < options.tokens:
        texts.append(torch.tensor(next(documents).ids[: options.longest]))
    return texts


class Fit:
    """Fits the maps of a lighter plan, source by source."""

    def __init__(self, base: Base, heavy: Predictor, plan: Plan, texts: list[Tensor], ridge: float):
        self.base = base
        self.heavy = heavy
        self.sinks = plan.sinks
        self.ridge = ridge
        layers = base.config.layers
        # The first tokens see only themselves.
        self.exact_sinks = [base.states(ids[: plan.sinks]) for ids in texts]
        starts: list[Tensor] = []
        self.wanted = [self._heavy_path(ids, index, plan.shared, starts) for index, ids in enumerate(texts)]
        self.maps: dict[str, tuple[Tensor, Tensor]] = {}
        gains: list[Tensor] = []
        states, same = starts, plan.shared == heavy.plan.shared
        for source in plan.sources(layers):
            before = next((index for index, one in enumerate(heavy.sources) if one.at == source.at), None)
            if same and before is not None:
                gains.append(heavy.gains[before].detach())
                self._copy([f"layers.{layer}" for layer in source.maps] + ([f"bridges.{source.run.first}"] if source.bridged else []))
            else:
                gains.append(self._fit(source, states))
            if source.run is None:
                break
            if source.bridged:
                weight, bias = self.maps[f"bridges.{source.run.first}"]
                states = [x + F.linear(base.norm(x, gains[-1]), weight, bias) for x in states]
            for layer in range(source.run.first, source.run.end):
                states = [self._run(layer, self._sunk(index, layer, x), source.run.mlp) for index, x in enumerate(states)]
            same = same and source.run.mlp
        self.predictor = Predictor(plan, layers, self.maps, gains)

    def _heavy_path(self, ids: Tensor, index: int, start: int, starts: list[Tensor]) -> dict[str, Tensor]:
        """Returns the inputs of layers (`at.L`) and the mapped K and V (`kv.L`) on the heavy predictor's path.

        Adds the input of layer `start`, which both paths share, to `starts`.
        """
        base, heavy = self.base, self.heavy
        wanted: dict[str, Tensor] = {}
        x = base.embed(ids)
        for layer in range(heavy.plan.shared):
            if layer == start:
                starts.append(x)
            wanted[f"at.{layer}"] = x
            x = self._run(layer, x)
        if start == heavy.plan.shared:
            starts.append(x)
        wanted[f"kv.{heavy.plan.shared}"] = torch.cat(base.kv(heavy.plan.shared, x), -1)
        for number, source in enumerate(heavy.sources):
            inputs = base.norm(x, heavy.gains[number])
            for layer in source.maps:
                wanted[f"kv.{layer}"] = torch.cat(heavy.kv(layer, inputs), -1)
            if source.run is None:
                break
            if source.bridged:
                x = x + heavy.bridge(source.run.first, inputs)
            for layer in range(source.run.first, source.run.end):
                x = self._sunk(index, layer, x)
                wanted[f"at.{layer}"] = x
                x = self._run(layer, x, source.run.mlp)
            x = self._sunk(index, source.run.end, x)
        return wanted

    def _fit(self, source, states: list[Tensor]) -> Tensor:
        """Fits the maps of a source, and returns the gain of its inputs."""
        sinks, base = self.sinks, self.base
        rows = torch.cat([x[sinks:] for x in states])
        deviation = base.norm(rows, torch.ones(rows.shape[1])).square().mean(0).sqrt()
        gain = 1 / (deviation + 1e-3 * deviation.mean())
        if not source.maps and not source.bridged:
            return torch.ones_like(gain)
        wanted = [(f"layers.{layer}", torch.cat([one[f"kv.{layer}"][sinks:] for one in self.wanted])) for layer in source.maps]
        if source.bridged:
            first = source.run.first
            wanted.append((f"bridges.{first}", torch.cat([one[f"at.{first}"][sinks:] for one in self.wanted]) - rows))
        x = base.norm(rows, gain)
        mean = x.mean(0)
        centred = (x - mean).double()
        gram = centred.T @ centred
        gram += torch.eye(len(gram), dtype=torch.double) * self.ridge * gram.diagonal().mean()
        factor = torch.linalg.cholesky(gram)
        for name, target in wanted:
            level = target.mean(0)
            weight = torch.cholesky_solve(centred.T @ (target - level).double(), factor).float().T.contiguous()
            self.maps[name] = (weight, level - weight @ mean)
            rest = (target - F.linear(x, *self.maps[name])).square().sum() / (target - level).square().sum()
            print(f"{name}: {rest:.4f} of the variance is not explained", flush=True)
        return gain

    def _copy(self, names: list[str]) -> None:
        for name in names:
            map = self.heavy.maps[name.replace(".", "_")]
            self.maps[name] = (map.weight.detach(), map.bias.detach())

    def _run(self, layer: int, x: Tensor, mlp: bool = True) -> Tensor:
        return self.base.layer(layer, x, torch.arange(len(x)), mlp=mlp)[0]

    def _sunk(self, index: int, layer: int, x: Tensor) -> Tensor:
        """Returns the states with the exact ones of the first tokens."""
        return torch.cat((self.exact_sinks[index][layer], x[self.sinks :]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="the base model, GGUF")
    parser.add_argument("--start", type=Path, required=True, help="the predictor to make cheaper")
    parser.add_argument("--data", type=Path, required=True, help="the folder of training texts")
    parser.add_argument("--layers", type=int, nargs="+", required=True, help="layers whose MLPs are left out")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--window-share", type=float, help="exact tokens at the end of a prompt, as a share of it")
    parser.add_argument("--window-most", type=int, help="most tokens that this share may come to")
    parser.add_argument("--tokens", type=int, default=10_000)
    parser.add_argument("--longest", type=int, default=768)
    parser.add_argument("--ridge", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
