"""Shared by the scripts here: models and tokenizers of the reference implementation, and the golden files' format.

A golden file is JSON with `magic` and `version`; a reader refuses any other and names the command in `made_by`.
"""

import hashlib
import importlib.metadata
import json
from pathlib import Path

import torch

MAGIC = "foretoken-golden"
VERSION = 1
TOP = 20


def load_gguf(path: Path):
    """Loads the dequantised model in float32 with plain attention, and its tokenizer."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval(), gguf_tokenizer(path)


def gguf_tokenizer(path: Path):
    """Loads the vocabulary of a GGUF with `smollm` pre-tokenising: single digits, then GPT-2's byte-level split.

    transformers' reader of GGUF files ignores `tokenizer.ggml.pre`, and would keep digits together.
    """
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    fields = GGUFReader(path).fields
    assert fields["tokenizer.ggml.pre"].contents() == "smollm"
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    kinds = fields["tokenizer.ggml.token_type"].contents()
    tokenizer = Tokenizer(models.BPE({token: id for id, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = 3
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True) for token, kind in zip(tokens, kinds) if kind == control]
    )
    return tokenizer


def render_chat(path: Path, messages: list[dict]) -> str:
    """Renders a conversation with the template of the GGUF."""
    from gguf import GGUFReader
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    template = GGUFReader(path).fields["tokenizer.chat_template"].contents()
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(messages=messages, add_generation_prompt=True)


def case(model, name: str, ids: list[int], steps: int, **more) -> dict:
    """Returns the top tokens after `ids`, and the greedy answer with the margin of the first choice at each step."""
    with torch.no_grad():
        out = model(torch.tensor([ids]), use_cache=True)
        logprobs = torch.log_softmax(out.logits[0, -1], -1)
        top = torch.topk(logprobs, TOP)
        greedy, margins = [], []
        logits = out.logits[0, -1]
        for _ in range(steps):
            two = torch.topk(logits, 2)
            greedy.append(int(two.indices[0]))
            margins.append(round(float(two.values[0] - two.values[1]), 4))
            out = model(torch.tensor([[greedy[-1]]]), past_key_values=out.past_key_values, use_cache=True)
            logits = out.logits[0, -1]
    return {
        "name": name,
        **more,
        "ids": ids,
        "top": [[int(id), round(float(value), 5)] for value, id in zip(top.values, top.indices)],
        "greedy": greedy,
        "margins": margins,
    }


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def write(path: Path, kind: str, made_by: str, packages: tuple[str, ...], **content) -> None:
    """Writes a golden file: one line for each case or window."""
    golden = {
        "magic": MAGIC,
        "version": VERSION,
        "kind": kind,
        "made_by": made_by,
        "packages": {name: importlib.metadata.version(name) for name in packages},
        **content,
    }
    cases = golden.pop("cases", None)
    text = json.dumps(golden, ensure_ascii=False)
    if cases is not None:
        lines = ",\n".join(json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in cases)
        text = f'{text[:-1]}, "cases": [\n{lines}\n]}}'
    path.write_text(text + "\n")
    print(f"{path}: {path.stat().st_size} bytes")
