"""Makes a tiny random OpenELM as a Hugging Face folder, with the results of a plain forward pass in float64.

    python test/vectors/openelm.py

transformers has no OpenELM (published models bring their code), so this file contains the
reference: layers that differ in query heads, KV heads and MLP width, one tensor for q, k and v, one
for gate and up, RMS norm on q and k before RoPE.

Needs: numpy, and torch for reference.py. Tokenizer, prompts and their ids are tiny-qwen3's, so run
tiny.py first. Writes test/vectors/tiny-openelm/. The weights are rounded to float16, saved so, and
run in float64.
"""

import json
import shutil
import struct
from pathlib import Path

import numpy as np
from reference import TOP, sha256, write

HERE = Path(__file__).parent
FOLDER = HERE / "tiny-openelm"
TOKENIZER = HERE / "tiny-qwen3"
STEPS = 24
SEED = 4
EPS = 1e-6
CONFIG = {
    "architectures": ["OpenELMForCausalLM"],
    "model_type": "openelm",
    "num_transformer_layers": 4,
    "model_dim": 64,
    "head_dim": 16,
    "num_query_heads": [2, 4, 4, 6],
    "num_kv_heads": [1, 2, 1, 3],
    "ffn_multipliers": [0.5, 1.1, 1.7, 2.3],
    "ffn_dim_divisor": 32,
    "ffn_with_glu": True,
    "activation_fn_name": "swish",
    "normalization_layer_name": "rms_norm",
    "normalize_qk_projections": True,
    "share_input_output_layers": True,
    "rope_freq_constant": 10000,
    "rope_max_length": 1024,
    "max_context_length": 512,
    "vocab_size": 276,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "torch_dtype": "float16",
}


def width(multiplier: float) -> int:
    """Returns the multiple of the divisor nearest to the width, or the next one if that loses more than a tenth."""
    wanted, divisor = multiplier * CONFIG["model_dim"], CONFIG["ffn_dim_divisor"]
    rounded = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * wanted else rounded + divisor


def make_weights() -> dict[str, np.ndarray]:
    """Returns weights large enough that the logits differ, and norms near 1, in float16."""
    random = np.random.Generator(np.random.PCG64(SEED))
    dim, head = CONFIG["model_dim"], CONFIG["head_dim"]
    weights = {}

    def norm(name: str, size: int) -> None:
        weights[name] = 1 + 0.2 * random.standard_normal(size)

    def matrix(name: str, rows: int, cols: int) -> None:
        weights[name] = random.standard_normal((rows, cols)) * 1.2 / cols**0.5

    weights["transformer.token_embeddings.weight"] = 0.5 * random.standard_normal((CONFIG["vocab_size"], dim))
    for layer in range(CONFIG["num_transformer_layers"]):
        at = f"transformer.layers.{layer}"
        queries, keys = CONFIG["num_query_heads"][layer], CONFIG["num_kv_heads"][layer]
        inner = width(CONFIG["ffn_multipliers"][layer])
        norm(f"{at}.attn_norm.weight", dim)
        matrix(f"{at}.attn.qkv_proj.weight", (queries + 2 * keys) * head, dim)
        norm(f"{at}.attn.q_norm.weight", head)
        norm(f"{at}.attn.k_norm.weight", head)
        matrix(f"{at}.attn.out_proj.weight", dim, queries * head)
        norm(f"{at}.ffn_norm.weight", dim)
        matrix(f"{at}.ffn.proj_1.weight", 2 * inner, dim)
        matrix(f"{at}.ffn.proj_2.weight", dim, inner)
    norm("transformer.norm.weight", dim)
    return {name: values.astype(np.float16) for name, values in weights.items()}


def normed(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * weight


def rotated(x: np.ndarray) -> np.ndarray:
    """Rotates component i of x (heads, tokens, head_dim) with component i + head_dim / 2."""
    _, tokens, size = x.shape
    frequencies = CONFIG["rope_freq_constant"] ** (-np.arange(0, size, 2) / size)
    angles = np.arange(tokens)[:, None] * frequencies[None, :]
    cos, sin = np.cos(angles), np.sin(angles)
    low, high = x[..., : size // 2], x[..., size // 2 :]
    return np.concatenate([low * cos - high * sin, high * cos + low * sin], -1)


def logits(weights: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """Returns logits after the last of `ids`, (vocab)."""
    head = CONFIG["head_dim"]
    embedding = weights["transformer.token_embeddings.weight"]
    x = embedding[ids]
    later = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
    for layer in range(CONFIG["num_transformer_layers"]):
        own = {
            name.removeprefix(f"transformer.layers.{layer}.").removesuffix(".weight"): value
            for name, value in weights.items()
            if name.startswith(f"transformer.layers.{layer}.")
        }
        queries, keys = CONFIG["num_query_heads"][layer], CONFIG["num_kv_heads"][layer]
        qkv = normed(x, own["attn_norm"]) @ own["attn.qkv_proj"].T
        heads = qkv.reshape(len(ids), queries + 2 * keys, head).transpose(1, 0, 2)
        q, k, v = np.split(heads, [queries, queries + keys])
        q = rotated(normed(q, own["attn.q_norm"]))
        k = rotated(normed(k, own["attn.k_norm"]))
        k, v = (np.repeat(each, queries // keys, axis=0) for each in (k, v))
        scores = q @ k.transpose(0, 2, 1) / head**0.5 + later
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        attended = scores / scores.sum(-1, keepdims=True) @ v
        x = x + attended.transpose(1, 0, 2).reshape(len(ids), -1) @ own["attn.out_proj"].T
        gate, up = np.split(normed(x, own["ffn_norm"]) @ own["ffn.proj_1"].T, 2, axis=-1)
        x = x + (gate / (1 + np.exp(-gate)) * up) @ own["ffn.proj_2"].T
    return embedding @ normed(x[-1], weights["transformer.norm.weight"])


def case(weights: dict[str, np.ndarray], name: str, prompt: str, ids: list[int]) -> dict:
    first = logits(weights, ids)
    logprobs = first - first.max() - np.log(np.exp(first - first.max()).sum())
    top = np.argsort(-logprobs)[:TOP]
    greedy, margins = [], []
    for _ in range(STEPS):
        values = logits(weights, ids + greedy)
        best, second = np.argsort(-values)[:2]
        greedy.append(int(best))
        margins.append(round(float(values[best] - values[second]), 4))
    return {
        "name": name,
        "prompt": prompt,
        "ids": ids,
        "top": [[int(id), round(float(logprobs[id]), 5)] for id in top],
        "greedy": greedy,
        "margins": margins,
    }


def save(path: Path, weights: dict[str, np.ndarray]) -> None:
    head, end = {}, 0
    for name, values in weights.items():
        head[name] = {"dtype": "F16", "shape": list(values.shape), "data_offsets": [end, end + values.nbytes]}
        end += values.nbytes
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(v.astype("<f2").tobytes() for v in weights.values()))


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TOKENIZER / name, FOLDER / name)
    (FOLDER / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    rounded = make_weights()
    save(FOLDER / "model.safetensors", rounded)
    weights = {name: values.astype(np.float64) for name, values in rounded.items()}
    known = json.loads((TOKENIZER / "golden.json").read_text())["cases"]
    cases = [case(weights, each["name"], each["prompt"], each["ids"]) for each in known]
    write(
        FOLDER / "golden.json",
        "model",
        "python test/vectors/openelm.py",
        ("numpy",),
        model={"files": {"model.safetensors": sha256(FOLDER / "model.safetensors")}},
        cases=cases,
    )
    for each in cases:
        print(each["name"], len(each["ids"]), each["margins"][:6], each["top"][0])


if __name__ == "__main__":
    main()
