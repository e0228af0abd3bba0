"""Makes tiny random encoders as ONNX exports with the files of sentence-transformers, and the vectors of the reference.

    python test/vectors/encoders.py

tiny-bert-onnx: a BERT with WordPiece, whose normaliser strips accents and lowers case. onnx/model.onnx gives
    last_hidden_state, which the folder pools by its mean and scales. golden.json has what sentence-transformers makes of
    texts, by the mean, the first token and the last one, and the ids of its tokenizer for more texts. onnx/pooled.onnx
    is the same with all modules in the graph, as sentence-transformers exports them: sentence_embedding.

Needs: torch, transformers, tokenizers, sentence-transformers and onnx.
"""

import random
import shutil
import sys
from pathlib import Path

sys.path.append(sys.path.pop(0))  # tokenizers.py beside this file has the name of a package

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import torch  # noqa: E402
from reference import sha256, write  # noqa: E402
from sentence_files import dump, modules  # noqa: E402
from sentence_transformers import SentenceTransformer  # noqa: E402
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors  # noqa: E402
from transformers import BertConfig, BertModel  # noqa: E402

HERE = Path(__file__).parent
NAME = "tiny-bert-onnx"
TEXTS = [
    "t",
    "the cat sat on the mat and then",
    "in the town where I was born, there lived a man who sailed to sea. " * 3,
    "Grüße aus 東京! Ünïcödé",
    " leading space, and trailing ",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PIECES = "the cat sat on mat and then in town where i was born there lived a man who sailed to sea gr ##u ##ße aus un ##i"
WIDTH = 32
LONGEST = 96


def vocabulary() -> dict[str, int]:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    tokens = SPECIAL + list(letters + "!,.東ß'-") + [f"##{letter}" for letter in letters + "ß"] + PIECES.split()
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordPiece(vocabulary(), unk_token="[UNK]", max_input_chars_per_word=20))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.add_special_tokens(SPECIAL)
    return made


def odd_texts() -> list[str]:
    """Texts of characters that a normaliser or a splitter treats apart, in fixed random order."""
    random.seed(1)
    ranges = [(0x20, 0x250), (0x370, 0x400), (0x2000, 0x2070), (0x3000, 0x3040), (0x4DFE, 0x4E10), (0xFEFF, 0xFF20)]
    ranges += [(0x20000, 0x20004), (0x2A6D8, 0x2A702), (0xE0020, 0xE0024), (0x300, 0x330), (0x1F600, 0x1F604), (0, 0x20)]
    letters = [chr(code) for first, end in ranges for code in range(first, end)]
    texts = ["".join(random.choice(letters) for _ in range(12)) for _ in range(150)]
    texts += ["ΟΔΟΣ", "x" * 20, "x" * 21, "unhappy thecat", "the-cat's", "[SEP]".lower(), "\u0130stanbul", ""]
    return texts


class States(torch.nn.Module):
    """The outputs of an export: the states, or what the modules behind them make of these."""

    def __init__(self, bert: BertModel, pools: bool):
        super().__init__()
        self.bert, self.pools = bert, pools

    def forward(self, input_ids, attention_mask, token_type_ids):
        states = self.bert(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state
        if not self.pools:
            return states
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(mean, dim=1)


def export(bert: BertModel, path: Path, output: str, pools: bool) -> None:
    path.parent.mkdir(exist_ok=True)
    example = (torch.tensor([[2, 5, 3]]), torch.ones(1, 3, dtype=torch.long), torch.zeros(1, 3, dtype=torch.long))
    names = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {name: {0: "batch", 1: "tokens"} for name in names} | {output: {0: "batch", **({} if pools else {1: "tokens"})}}
    torch.onnx.export(
        States(bert, pools).eval(),
        example,
        str(path),
        input_names=names,
        output_names=[output],
        dynamic_axes=axes,
        opset_version=17,
        dynamo=False,
    )
    onnx.checker.check_model(str(path))


def vectors(found: np.ndarray) -> list[list[float]]:
    return [[float(f"{value:.8g}") for value in row] for row in found.astype(np.float64)]


def main() -> None:
    folder = HERE / NAME
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    config = BertConfig(
        vocab_size=len(vocabulary()),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    torch.manual_seed(3)
    bert = BertModel(config, add_pooling_layer=False).float().eval()
    for parameter in bert.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    bert.save_pretrained(folder)
    made = tokenizer()
    made.save(str(folder / "tokenizer.json"), pretty=False)
    tokens = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
    dump(folder / "tokenizer_config.json", {**tokens, "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 128})
    modules(folder, WIDTH, LONGEST)
    reference = SentenceTransformer(str(folder), model_kwargs={"attn_implementation": "eager"})
    assert reference.max_seq_length == LONGEST
    assert reference.tokenizer(TEXTS[1])["input_ids"] == made.encode(TEXTS[1]).ids
    cases = []
    for mode, pooling in (("mean", "mean"), ("cls", "cls"), ("lasttoken", "last")):
        reference[1].pooling_mode = mode
        cases.append({"name": pooling, "texts": TEXTS, "vectors": vectors(reference.encode(TEXTS))})
    # The export has the weights.
    (folder / "model.safetensors").unlink()
    export(bert, folder / "onnx" / "model.onnx", "last_hidden_state", False)
    export(bert, folder / "onnx" / "pooled.onnx", "sentence_embedding", True)
    write(
        folder / "golden.json",
        "encoders",
        "python test/vectors/encoders.py",
        ("torch", "transformers", "tokenizers", "sentence-transformers", "onnx"),
        model={"files": {name: sha256(folder / "onnx" / name) for name in ("model.onnx", "pooled.onnx")}},
        cases=cases,
        tokens=[{"text": text, "ids": made.encode(text).ids} for text in odd_texts()],
    )


main()
