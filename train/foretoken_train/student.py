"""Runs the base model on a predicted cache as the engine does: several blocks of one text at once, each after its own window.

A block is a range of tokens that run exactly: the prompt's last `window` tokens and those that
follow. For a block, all earlier tokens are predicted except the first few (the sinks). Since
prediction is causal, one prediction of the text serves all blocks.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Base
from .predictor import Predictor


@dataclass(frozen=True)
class Block:
    first: int
    """The first exact token."""
    prompt: int
    """The first token after the prompt; logits from the one before it are compared."""
    end: int


@dataclass(frozen=True)
class Teacher:
    """The states of a text in exact prefill."""

    states: list[Tensor]
    """The input of each layer, and the output of the last."""


def compared(blocks: list[Block]) -> list[int]:
    """Returns the positions whose logits are compared."""
    return [at for block in blocks for at in range(block.prompt - 1, block.end - 1)]


def student(base: Base, predictor: Predictor, teacher: Teacher, blocks: list[Block]) -> tuple[Tensor, dict[int, tuple[Tensor, Tensor]]]:
    """Returns the states after the last layer at the compared positions, and the predicted K before RoPE and V by layer."""
    plan = predictor.plan
    length = max(block.first for block in blocks)
    positions = torch.arange(length)
    exact = ExactRows(base, teacher, blocks, plan.shared, length, plan.sinks)
    predicted: dict[int, tuple[Tensor, Tensor]] = {}
    x = teacher.states[plan.shared][:length]
    if plan.runs[:1] == () or plan.runs[0].first > plan.shared:
        exact.layer(plan.shared, *base.kv(plan.shared, x))
    for index, source in enumerate(predictor.sources):
        inputs = predictor.inputs(index, base.norm(x, predictor.gains[index]))
        for layer in source.maps:
            predicted[layer] = predictor.kv(layer, inputs)
            exact.layer(layer, *predicted[layer])
        if source.run is None:
            break
        first, end = source.run.first, source.run.end
        if source.bridged:
            x = x + predictor.bridge(first, inputs)
        for layer in range(first, end):
            x, k, v = base.layer(layer, x, positions, patch=exact.sinks_of(layer), mlp=source.run.mlp)
            predicted[layer] = (k, v)
            exact.layer(layer, k, v)
        x = torch.cat((teacher.states[end][: plan.sinks], x[plan.sinks :]))
    return exact.outputs(), predicted


class ExactRows:
    """The rows of all blocks, layer by layer."""

    def __init__(self, base: Base, teacher: Teacher, blocks: list[Block], shared: int, length: int, sinks: int):
        self.base = base
        self.teacher = teacher
        self.sinks = sinks
        rows = [at for block in blocks for at in range(block.first, block.end)]
        self.positions = torch.tensor(rows)
        self.x = teacher.states[shared][self.positions]
        self.past_positions = torch.arange(length)
        block_of = torch.tensor([index for index, block in enumerate(blocks) for _ in range(block.first, block.end)])
        first_of = torch.tensor([blocks[index].first for index in block_of])
        past = self.past_positions[None] < first_of[:, None]
        same = (block_of[:, None] == block_of[None]) & (self.positions[:, None] >= self.positions[None])
        self.mask = torch.cat((past, same), 1)
        offset = 0
        self.picked = []
        for block in blocks:
            self.picked += range(offset + block.prompt - 1 - block.first, offset + block.end - 1 - block.first)
            offset += block.end - block.first

    def sinks_of(self, layer: int):
        """Returns a function that puts the exact K and V of the first tokens in place."""
        k, v = self.base.kv(layer, self.teacher.states[layer][: self.sinks])
        k, v = self.base.rope(self.base.heads(k), torch.arange(self.sinks)), self.base.heads(v)
        return lambda keys, values: (torch.cat((k, keys[:, self.sinks :]), 1), torch.cat((v, values[:, self.sinks :]), 1))

    def layer(self, layer: int, k: Tensor, v: Tensor) -> None:
        """Runs a layer with the given K before RoPE and V of the earlier tokens."""
        keys, values = self.base.rope(self.base.heads(k), self.past_positions), self.base.heads(v)
        past = self.sinks_of(layer)(keys, values)
        self.x = self.base.layer(layer, self.x, self.positions, past, self.mask)[0]

    def outputs(self) -> Tensor:
        return self.x[self.picked]
