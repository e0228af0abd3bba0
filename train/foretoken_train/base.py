"""The base model in PyTorch, from its GGUF file: frozen, float32, one sequence at a time.

Shapes: T tokens, H hidden, h heads, g KV heads, d head width.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F
from gguf import GGUFReader, dequantize
from torch import Tensor


@dataclass(frozen=True)
class Config:
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    eps: float
    theta: float


class Base:
    """A llama model. All tensors are constants: gradients flow through its functions, not into weights.

    With `bfloat16`, the products of the layers are computed in it unless `precise` is set: two to three
    times faster on a processor that has such products. Sums over layers, norms and logits stay float32.
    """

    def __init__(self, path: Path, bfloat16: bool = False):
        self.precise = not bfloat16
        self.reader = GGUFReader(path)
        field = lambda name: self.reader.fields[name].contents()
        architecture = field("general.architecture")
        if architecture != "llama":
            raise ValueError(f"{path} is a {architecture}; only predictors for llama can be trained")
        of = lambda name: field(f"llama.{name}")
        heads, hidden = of("attention.head_count"), of("embedding_length")
        self.weights = {
            tensor.name: torch.from_numpy(numpy.array(dequantize(tensor.data, tensor.tensor_type))).float()
            for tensor in self.reader.tensors
        }
        self.halves = {
            name: weight.bfloat16()
            for name, weight in self.weights.items()
            if bfloat16 and name.startswith("blk.") and weight.ndim == 2
        }
        self.config = Config(
            layers=of("block_count"),
            hidden=hidden,
            intermediate=of("feed_forward_length"),
            heads=heads,
            kv_heads=of("attention.head_count_kv"),
            head_dim=hidden // heads,
            vocab=len(self.weights["token_embd.weight"]),
            eps=of("attention.layer_norm_rms_epsilon"),
            theta=of("rope.freq_base"),
        )

    def embed(self, ids: Tensor) -> Tensor:
        return self.weights["token_embd.weight"][ids]

    def logits(self, x: Tensor) -> Tensor:
        """Turns (T, H) after the last layer into logits, (T, vocab)."""
        head = self.weights.get("output.weight", self.weights["token_embd.weight"])
        return F.linear(self.norm(x, self.weights["output_norm.weight"]), head)

    def norm(self, x: Tensor, gain: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.config.eps) * gain

    def normed(self, layer: int, x: Tensor) -> Tensor:
        return self.norm(x, self.weights[f"blk.{layer}.attn_norm.weight"])

    def kv(self, layer: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the K before RoPE and the V of a layer with input x, (T, g d) each."""
        return self._kv(layer, self.normed(layer, x))

    def _kv(self, layer: int, normed: Tensor) -> tuple[Tensor, Tensor]:
        return self.product(layer, "attn_k", normed), self.product(layer, "attn_v", normed)

    def product(self, layer: int, name: str, x: Tensor) -> Tensor:
        """Returns x, (T, K), times a layer's matrix, (T, N)."""
        name = f"blk.{layer}.{name}.weight"
        if self.precise:
            return F.linear(x, self.weights[name])
        return F.linear(x.bfloat16(), self.halves[name]).float()

    def attention(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Returns softmax(q k / sqrt d) v for q, (h, T, d), and k and v, (h, P + T, d)."""
        if not self.precise:
            q, k, v = q.bfloat16(), k.bfloat16(), v.bfloat16()
        return F.scaled_dot_product_attention(q[None], k[None], v[None], mask, is_causal=mask is None)[0].float()

    def heads(self, x: Tensor) -> Tensor:
        """Turns (T, n d) into (n, T, d)."""
        return x.view(len(x), -1, self.config.head_dim).transpose(0, 1)

    def rope(self, x: Tensor, positions: Tensor) -> Tensor:
        """Rotates neighbouring pairs, as GGUF's llama orders them; x is (n, T, d)."""
        half = self.config.head_dim // 2
        frequency = self.config.theta ** (-torch.arange(half, dtype=torch.float32) / half)
        angle = positions[:, None].float() * frequency
        cos, sin = angle.cos(), angle.sin()
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)

    def layer(
        self,
        layer: int,
        x: Tensor,
        positions: Tensor,
        past: tuple[Tensor, Tensor] | None = None,
        mask: Tensor | None = None,
        patch=None,
        mlp: bool = True,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Runs one layer over x, (T, H). Returns its output, and its own K before RoPE and V, (T, g d).

        `past` is the K after RoPE and the V of other tokens, (g, P, d). `mask`, (T, P + T), is true
        where a row may attend; without one, rows attend to themselves and earlier rows.
        `patch(k, v)` may replace rows of K (g, T, d; after RoPE) and of V. Without `mlp`, only attention runs.
        """
        normed = self.normed(layer, x)
        q = self.rope(self.heads(self.product(layer, "attn_q", normed)), positions)
        k_raw, v_raw = self._kv(layer, normed)
        k, v = self.rope(self.heads(k_raw), positions), self.heads(v_raw)
        if patch is not None:
            k, v = patch(k, v)
        if past is not None:
            k, v = torch.cat((past[0], k), 1), torch.cat((past[1], v), 1)
        share = self.config.heads // self.config.kv_heads
        k, v = k.repeat_interleave(share, 0), v.repeat_interleave(share, 0)
        attended = self.attention(q, k, v, mask)
        x = x + self.product(layer, "attn_output", attended.transpose(0, 1).flatten(1))
        if not mlp:
            return x, k_raw, v_raw
        normed = self.norm(x, self.weights[f"blk.{layer}.ffn_norm.weight"])
        inner = F.silu(self.product(layer, "ffn_gate", normed)) * self.product(layer, "ffn_up", normed)
        x = x + self.product(layer, "ffn_down", inner)
        return x, k_raw, v_raw

    @torch.no_grad()
    def states(self, ids: Tensor) -> list[Tensor]:
        """Returns the input of each layer, and the output of the last one: layers + 1 of (T, H)."""
        x = self.embed(ids)
        positions = torch.arange(len(ids))
        all_states = [x]
        for layer in range(self.config.layers):
            x = self.layer(layer, x, positions)[0]
            all_states.append(x)
        return all_states
