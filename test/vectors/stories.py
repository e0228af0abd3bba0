"""Writes the golden file of stories260K, from llama2.c's file by a plain float32 forward pass.

    python test/vectors/stories.py stories260K.bin tok512.bin llama2c_reference.json

If the greedy text differs from that of llama2.c, nothing is written. Needs: numpy, torch (for the version line).
Writes test/vectors/stories260K.json.
"""

import json
import re
import struct
import sys
from pathlib import Path

import numpy as np
from reference import TOP, sha256, write

STEPS = 200
BOS = 1


class Model:
    """Reads llama2.c's first format: seven int32, then float32 matrices of all layers, one kind after the other."""

    def __init__(self, path: Path) -> None:
        raw = path.read_bytes()
        self.dim, self.ffn, self.layers, self.heads, self.kv_heads, vocab, self.seq = struct.unpack("<7i", raw[:28])
        self.vocab = abs(vocab)
        data, at = np.frombuffer(raw, "<f4", offset=28), 0
        self.head_dim = self.dim // self.heads
        kv = self.kv_heads * self.head_dim

        def take(*shape: int) -> np.ndarray:
            nonlocal at
            size = int(np.prod(shape))
            at += size
            return data[at - size : at].reshape(shape)

        n = self.layers
        self.embed = take(self.vocab, self.dim)
        self.attn_norm = take(n, self.dim)
        self.wq, self.wk, self.wv = take(n, self.dim, self.dim), take(n, kv, self.dim), take(n, kv, self.dim)
        self.wo = take(n, self.dim, self.dim)
        self.ffn_norm = take(n, self.dim)
        self.w1, self.w2, self.w3 = take(n, self.ffn, self.dim), take(n, self.dim, self.ffn), take(n, self.ffn, self.dim)
        self.norm = take(self.dim)
        take(self.seq, self.head_dim)  # tables of cosines and sines, now unused
        self.head = self.embed if vocab > 0 else take(self.vocab, self.dim)
        assert at == len(data), f"{len(data) - at} floats left over"

    def forward(self, ids: list[int]) -> np.ndarray:
        """Returns logits after each id, (ids, vocab)."""
        tokens, half = len(ids), self.head_dim // 2
        angles = np.outer(np.arange(tokens), 10000.0 ** (-np.arange(half) * 2 / self.head_dim)).astype(np.float32)
        turn = np.exp(1j * angles).astype(np.complex64)[:, None]
        mask = np.triu(np.full((tokens, tokens), -np.inf, np.float32), 1)
        x = self.embed[ids]
        for i in range(self.layers):
            h = rms(x, self.attn_norm[i])
            q = rotate((h @ self.wq[i].T).reshape(tokens, self.heads, -1), turn)
            k = rotate((h @ self.wk[i].T).reshape(tokens, self.kv_heads, -1), turn)
            v = (h @ self.wv[i].T).reshape(tokens, self.kv_heads, -1)
            k, v = (np.repeat(each, self.heads // self.kv_heads, axis=1) for each in (k, v))
            scores = np.einsum("thd,shd->hts", q, k) / np.float32(np.sqrt(self.head_dim)) + mask
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            scores /= scores.sum(-1, keepdims=True)
            x = x + np.einsum("hts,shd->thd", scores, v).reshape(tokens, -1) @ self.wo[i].T
            h = rms(x, self.ffn_norm[i])
            gate = h @ self.w1[i].T
            x = x + (gate / (1 + np.exp(-gate)) * (h @ self.w3[i].T)) @ self.w2[i].T
        return rms(x, self.norm) @ self.head.T


def rms(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(1e-5)) * weight


def rotate(x: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Rotates adjacent pairs, as complex numbers."""
    turned = np.ascontiguousarray(x).view(np.complex64) * turn
    return turned.view(np.float32)


def pieces(path: Path, vocab: int) -> list[bytes]:
    """Reads the vocabulary's texts: the maximum length, then for each a score, a length and bytes."""
    raw, at, out = path.read_bytes(), 4, []
    for _ in range(vocab):
        _, length = struct.unpack_from("<fi", raw, at)
        piece = raw[at + 8 : at + 8 + length]
        out.append(bytes([int(piece[3:5], 16)]) if re.fullmatch(rb"<0x[0-9A-F]{2}>", piece) else piece)
        at += 8 + length
    return out


def logprobs(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def top_of(logits: np.ndarray) -> list:
    values = logprobs(logits)
    best = np.argsort(-values, kind="stable")[:TOP]
    return [[int(id), round(float(values[id]), 5)] for id in best]


def main() -> None:
    path, tokens_path, expected_path = (Path(each) for each in sys.argv[1:4])
    model = Model(path)
    ids, margins = [BOS], []
    while len(ids) <= STEPS:
        logits = model.forward(ids)[-1]
        second, first = np.sort(logits)[-2:]
        margins.append(round(float(first - second), 4))
        ids.append(int(np.argmax(logits)))
    vocabulary = pieces(tokens_path, model.vocab)
    text = b"".join(vocabulary[id] for id in ids[1:]).lstrip(b" ").decode()
    expected = json.loads(expected_path.read_text())["runs"][0]["expected"]
    if text.strip() != expected.strip():
        sys.exit(f"the greedy text is not llama2.c's:\n{text!r}\n{expected!r}")
    logits = model.forward(ids)
    write(
        Path(__file__).parent / "stories260K.json",
        "stories",
        "python test/vectors/stories.py stories260K.bin tok512.bin llama2c_reference.json",
        ("numpy",),
        model={"sha256": sha256(path)},
        greedy=ids[1:],
        margins=margins,
        text=text,
        cases=[{"ids": ids[: at + 1], "top": top_of(logits[at])} for at in (0, 1, 15, 16, 31, 100, 199)],
    )


if __name__ == "__main__":
    main()
