"""Writes the files that sentence-transformers keeps beside a model."""

import json
from pathlib import Path


def dump(path: Path, value) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def modules(folder: Path, width: int, longest: int) -> None:
    """Writes those of a mean over the tokens, normalised, of `width` numbers and at most `longest` tokens."""
    package = "sentence_transformers.models"
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    listed = [
        {"idx": at, "name": str(at), "path": path, "type": f"{package}.{kind}"} for at, (path, kind) in enumerate(kinds)
    ]
    dump(folder / "modules.json", listed)
    flags = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens"]
    pooling = {f"pooling_mode_{flag}": flag == "mean_tokens" for flag in flags}
    dump(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **pooling})
    dump(folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False})
