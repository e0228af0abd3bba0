"""A predictor's maps as PyTorch parameters, and its file (src/predict/file.ts has the format)."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .plan import Plan, Run

BLOCK = 32


class LinearMap(nn.Module):
    """The map y = W x + b. Its parameters are in units of each output's deviation, so that one learning rate fits all."""

    def __init__(self, weight: Tensor, bias: Tensor, unit: Tensor | None = None):
        super().__init__()
        # Inputs have about unit variance.
        unit = weight.float().norm(dim=1).clamp_min(1e-6) if unit is None else unit
        self.register_buffer("unit", unit)
        self.scaled_weight = nn.Parameter(weight.float() / unit[:, None])
        self.scaled_bias = nn.Parameter(bias.float() / unit)

    @property
    def weight(self) -> Tensor:
        return self.scaled_weight * self.unit[:, None]

    @property
    def bias(self) -> Tensor:
        return self.scaled_bias * self.unit

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.scaled_weight, self.scaled_bias) * self.unit


class Predictor(nn.Module):
    """Maps to K and V by layer (`layers.L`), bridges by the layer that they lead to (`bridges.L`), gains by source."""

    def __init__(self, plan: Plan, layers: int, maps: dict[str, tuple[Tensor, Tensor]], gains: list[Tensor]):
        super().__init__()
        self.plan = plan
        self.sources = plan.sources(layers)
        self.maps = nn.ModuleDict({name.replace(".", "_"): LinearMap(*map) for name, map in maps.items()})
        self.gains = nn.ParameterList([nn.Parameter(gain.float(), requires_grad=False) for gain in gains])

    def kv(self, layer: int, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the K before RoPE and the V of a layer, (T, g d) each."""
        both = self.maps[f"layers_{layer}"](inputs)
        return both.tensor_split(2, -1)

    def bridge(self, layer: int, inputs: Tensor) -> Tensor:
        """Returns what to add to the state to get the input of a run's first layer."""
        return self.maps[f"bridges_{layer}"](inputs)

    def inputs(self, index: int, normed: Tensor) -> Tensor:
        """Returns the normed states of each position and of those before it, (T, (1 + taps) H)."""
        shifted = [F.pad(normed, (0, 0, tap, 0))[: len(normed)] for tap in range(self.sources[index].taps + 1)]
        return torch.cat(shifted, -1)


def with_inner_bridges(predictor: Predictor, layers: int) -> Predictor:
    """Returns the predictor with a bridge before each layer of a run, a small adapter that adds nothing yet."""
    plan = predictor.plan
    runs = tuple(Run(layer, layer + 1, run.mlp) for run in plan.runs for layer in range(run.first, run.end))
    taps = plan.taps[:1] + tuple(tap for run, tap in zip(plan.runs, plan.taps[1:]) for tap in (0,) * (run.end - run.first - 1) + (tap,))
    wide = Predictor(replace(plan, runs=runs, taps=taps), layers, {}, [])
    wide.maps = predictor.maps
    gains = {source.at: gain for source, gain in zip(predictor.sources, predictor.gains)}
    for source in wide.sources:
        # States change little from layer to layer.
        gain = gains[min(at for at in gains if at >= source.at)]
        wide.gains.append(nn.Parameter(gain.clone(), requires_grad=False))
        if source.bridged and (name := f"bridges_{source.run.first}") not in wide.maps:
            unit = 0.3 * wide.maps[f"bridges_{_run_of(plan, source.run.first)}"].unit
            wide.maps[name] = LinearMap(torch.zeros(len(unit), len(gain)), torch.zeros(len(unit)), unit)
    return wide


def _run_of(plan: Plan, layer: int) -> int:
    return next(run.first for run in plan.runs if run.first <= layer < run.end)


def read_predictor(path: Path) -> tuple[Predictor, dict]:
    """Reads a predictor and its header."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    entries = json.loads(raw[8 : 8 + length])
    header = json.loads(entries.pop("__metadata__")["foretoken"])
    kinds = {"I8": numpy.int8, "F16": numpy.float16, "F32": numpy.float32}

    def tensor(name: str) -> Tensor:
        start, end = entries[name]["data_offsets"]
        values = numpy.frombuffer(raw[8 + length + start : 8 + length + end], kinds[entries[name]["dtype"]])
        return torch.from_numpy(values.reshape(entries[name]["shape"]).copy())

    names = [name.removesuffix(".weight") for name in entries if name.endswith(".weight")]
    maps = {}
    for name in names:
        scale = tensor(f"{name}.scale").float().repeat_interleave(BLOCK, -1)
        maps[name] = (tensor(f"{name}.weight").float() * scale, tensor(f"{name}.bias"))
    plan = Plan.of(header["plan"])
    gains = [tensor(f"sources.{source.at}.gain") for source in plan.sources(header["layers"])]
    return Predictor(plan, header["layers"], maps, gains), header


def write_predictor(path: Path, predictor: Predictor, header: dict) -> None:
    """Quantises a predictor to int8 and writes the whole file at once."""
    parts: list[bytes] = []
    entries: dict[str, dict] = {}
    at = 0

    def put(name: str, kind: str, values: numpy.ndarray) -> None:
        nonlocal at
        data = values.tobytes()
        entries[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": [at, at + len(data)]}
        parts.append(data)
        at += len(data)

    for source in predictor.sources:
        names = [f"layers.{layer}" for layer in source.maps] + ([f"bridges.{source.run.first}"] if source.bridged else [])
        for name in names:
            map = predictor.maps[name.replace(".", "_")]
            quants, scale = quantized(map.weight.detach())
            put(f"{name}.weight", "I8", quants)
            put(f"{name}.scale", "F16", scale)
            put(f"{name}.bias", "F32", map.bias.detach().numpy())
    for source, gain in zip(predictor.sources, predictor.gains):
        put(f"sources.{source.at}.gain", "F32", gain.detach().numpy())
    text = json.dumps(header)
    data = b"".join(parts)
    metadata = {"foretoken": text, "sha256": hashlib.sha256(text.encode() + data).hexdigest()}
    head = json.dumps({"__metadata__": metadata, **entries}).encode()
    head += b" " * (-len(head) % 8)
    partial = path.with_suffix(".partial")
    partial.write_bytes(len(head).to_bytes(8, "little") + head + data)
    partial.rename(path)


def quantized(weight: Tensor) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Returns int8 weights with one binary16 scale for 32 of a row, never below the largest weight over 127."""
    n, k = weight.shape
    blocks = weight.view(n, k // BLOCK, BLOCK)
    wanted = (blocks.abs().amax(-1) / 127).numpy()
    scale = wanted.astype(numpy.float16)
    scale = numpy.where(scale.astype(numpy.float32) < wanted, numpy.nextafter(scale, numpy.float16(65504)), scale)
    step = torch.from_numpy(scale.astype(numpy.float32))[..., None]
    quants = torch.where(step > 0, (blocks / step.clamp_min(1e-30)).round(), 0).to(torch.int8)
    return quants.view(n, k).numpy(), scale
