"""Computes the mean negative log-likelihood of wikitext-2 (validation) under the float32 reference of the default model.

    python test/vectors/nll.py SmolLM2-135M-Instruct.Q4_1.gguf wikitext2_valid.txt.gz

The text is tokenised whole, without special tokens. Its first 20,000 ids are cut into windows of 512 that do not
overlap (the last one has 32). Each window is scored alone: its first id is given and not scored, so 19,960 ids are
scored. `mean_nll` is over ids (natural logarithm), not over windows. Writes test/vectors/nll-smollm2.json.

Needs: torch, transformers, accelerate, gguf, tokenizers.
"""

import gzip
import hashlib
import struct
import sys
from pathlib import Path

import torch
from reference import load_gguf, sha256, write

TOKENS = 20_000
WINDOW = 512
KEPT = 2


def main() -> None:
    path, text_path = Path(sys.argv[1]), Path(sys.argv[2])
    model, tokenizer = load_gguf(path)
    text = gzip.decompress(text_path.read_bytes()).decode()
    ids = tokenizer.encode(text, add_special_tokens=False).ids[:TOKENS]
    sums = []
    with torch.no_grad():
        for at in range(0, TOKENS, WINDOW):
            window = torch.tensor(ids[at : at + WINDOW])
            logits = model(window[None]).logits[0, :-1]
            sums.append(float(torch.nn.functional.cross_entropy(logits.double(), window[1:], reduction="sum")))
    scored = TOKENS - len(sums)
    mean = sum(sums) / scored
    print(f"mean NLL {mean:.6f} over {scored} ids")
    write(
        Path(__file__).parent / "nll-smollm2.json",
        "nll",
        "python test/vectors/nll.py MODEL.gguf wikitext2_valid.txt.gz",
        ("torch", "transformers", "gguf", "tokenizers"),
        model={"alias": "smollm2-135m", "sha256": sha256(path)},
        text_sha256=hashlib.sha256(text.encode()).hexdigest(),
        tokens=TOKENS,
        window=WINDOW,
        scored=scored,
        ids_sha256=hashlib.sha256(struct.pack(f"<{TOKENS}I", *ids)).hexdigest(),
        mean_nll=round(mean, 6),
        # Sums of all windows, and the ids of the first ones, for tests without the text.
        window_sums=[round(value, 4) for value in sums],
        first_windows=[ids[i * WINDOW : (i + 1) * WINDOW] for i in range(KEPT)],
    )


if __name__ == "__main__":
    main()
