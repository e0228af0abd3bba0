"""Makes a tiny random EmbeddingGemma as a sentence-transformers folder and as GGUFs, with the vectors of the reference.

    python test/vectors/gemma_embedding.py

tiny-gemma-embedding: float16, as the published one is: a `gemma3_text` with `use_bidirectional_attention` saved without
    `model.`, a window of 24 tokens (12 to each side) on five of six layers, SentencePiece that puts <bos> before a text and
    <eos> behind it, the mean as pooling, two dense layers without bias and activation, normalised. golden.json has what
    sentence-transformers makes of texts, plain, with the prompts of the model card, and cut to fewer dimensions. gguf/ has the
    same model as llama.cpp's converter writes it with `--sentence-transformers-dense-modules`, in float16 and in Q4_0; the
    golden vectors of the latter are those of its dequantised weights.

Needs: torch, transformers, tokenizers, sentence-transformers and gguf.
"""

import json
import shutil
import sys
from pathlib import Path

sys.path.append(sys.path.pop(0))  # tokenizers.py beside this file has the name of a package

import numpy as np  # noqa: E402
import torch  # noqa: E402
from gguf import GGMLQuantizationType, GGUFWriter, PoolingType, dequantize, quantize  # noqa: E402
from reference import sha256, write  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from sentence_transformers import SentenceTransformer  # noqa: E402
from tiny_families import GEMMA_SPECIAL, GEMMA_TEMPLATE, randomise, sentencepiece  # noqa: E402
from tiny_gguf import add_tokenizer, gguf_name  # noqa: E402
from tokenizers import processors  # noqa: E402
from transformers import Gemma3TextConfig, Gemma3TextModel  # noqa: E402

NAME = "tiny-gemma-embedding"
FOLDER = Path(__file__).parent / NAME
PROMPTS = {
    "query": "task: search result | query: ",
    "document": "title: none | text: ",
    "Clustering": "task: clustering | query: ",
}
TEXTS = [
    "t",
    "the cat sat on the mat and then",
    "in the town where I was born, there lived a man who sailed to sea. " * 3,
    "a wind, the sea and the rain, " * 7,
    " leading space, and trailing ",
]
DENSE = [128, 64]
WINDOW = 24


def dump(path: Path, value) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def half(weight: torch.Tensor) -> torch.Tensor:
    return weight.half().float()


def folder_of(model, tokens, dense: list[torch.Tensor]) -> None:
    """Writes the folder as the published one is."""
    saved = type(model)(model.config).half()
    saved.load_state_dict({key: value.half() for key, value in model.state_dict().items()})
    saved.config.dtype = torch.float16
    saved.save_pretrained(FOLDER)
    (FOLDER / "generation_config.json").unlink(missing_ok=True)
    config = json.loads((FOLDER / "config.json").read_text())
    assert (config["use_bidirectional_attention"], config["sliding_window"]) == (True, WINDOW)
    tokens.save(str(FOLDER / "tokenizer.json"), pretty=False)
    settings = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    settings |= {"add_bos_token": True, "add_eos_token": True, "tokenizer_class": "PreTrainedTokenizerFast"}
    dump(FOLDER / "tokenizer_config.json", settings)
    paths = ["", "1_Pooling", "2_Dense", "3_Dense", "4_Normalize"]
    kinds = ["Transformer", "Pooling", "Dense", "Dense", "Normalize"]
    dump(
        FOLDER / "modules.json",
        [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, (path, kind) in enumerate(zip(paths, kinds))
        ],
    )
    flags = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]
    pooling = {f"pooling_mode_{flag}": flag == "mean_tokens" for flag in flags}
    width = model.config.hidden_size
    dump(FOLDER / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **pooling, "include_prompt": True})
    for path, weight in zip(paths[2:], dense):
        said = {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": False}
        dump(FOLDER / path / "config.json", {**said, "activation_function": "torch.nn.modules.linear.Identity"})
        save_file({"linear.weight": weight.half()}, FOLDER / path / "model.safetensors")
    dump(
        FOLDER / "config_sentence_transformers.json",
        {"prompts": PROMPTS, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )
    for each in FOLDER.rglob("*.safetensors"):
        each.chmod(0o644)


def vectors(found: np.ndarray) -> list[list[float]]:
    return [[float(f"{value:.8g}") for value in row] for row in found.astype(np.float64)]


def encode(model: SentenceTransformer, prefix: str = "", **more) -> np.ndarray:
    """Embeds the texts one by one, and checks that a batch with padding gives the same."""
    alone = np.stack([model.encode(text, prompt=prefix, **more) for text in TEXTS])
    assert np.abs(model.encode(TEXTS, prompt=prefix, **more) - alone).max() < 1e-5
    return alone


def save_gguf(path: Path, model, pieces, dense: list[torch.Tensor], kind: GGMLQuantizationType):
    """Writes the model as llama.cpp does. Returns the weights that a reader gets: the model's, and the dense layers'."""
    config = model.config
    writer = GGUFWriter(path, "gemma-embedding")
    writer.add_name("tiny gemma embedding")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["full_attention"]["rope_theta"])
    # The window as config.json has it, both sides together.
    writer.add_sliding_window(WINDOW)
    writer.add_pooling_type(PoolingType.MEAN)
    for index, weight in enumerate(dense):
        writer.add_dense_features_dims(f"dense_{index + 2}", weight.shape[1], weight.shape[0])
    add_tokenizer(writer, config, pieces, [], GEMMA_TEMPLATE, True)
    writer.add_add_eos_token(True)
    state, layers = {}, []

    def add(name: str, weight: torch.Tensor) -> torch.Tensor:
        stored = quantize(weight.numpy(), kind)
        writer.add_tensor(f"{name}.weight", stored, raw_dtype=kind)
        return torch.from_numpy(dequantize(stored, kind).astype(np.float32)).reshape(weight.shape)

    for name, weight in model.state_dict().items():
        gguf = gguf_name(f"model.{name.removesuffix('.weight')}", "gemma3")
        if weight.ndim == 1:
            writer.add_tensor(f"{gguf}.weight", (weight + 1).numpy())
            state[name] = weight
        else:
            state[name] = add(gguf, weight)
    for index, weight in enumerate(dense):
        layers.append(add(f"dense_{index + 2}", weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return state, layers


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    tokens, pieces = sentencepiece()
    bos, eos = GEMMA_SPECIAL.index("<bos>"), GEMMA_SPECIAL.index("<eos>")
    tokens.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", pair="<bos> $A <eos> $B <eos>", special_tokens=[("<bos>", bos), ("<eos>", eos)]
    )
    config = Gemma3TextConfig(
        vocab_size=len(pieces),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=7,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        max_position_embeddings=256,
        sliding_window=WINDOW,
        use_bidirectional_attention=True,
        layer_types=(["sliding_attention"] * 5 + ["full_attention"]) + ["sliding_attention"],
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            "full_attention": {"rope_type": "default", "rope_theta": 1000000.0},
        },
        bos_token_id=bos,
        eos_token_id=eos,
        pad_token_id=0,
    )
    model = Gemma3TextModel(config).float().eval()
    randomise(model, 23, 0.0, 0.5)
    generator = torch.Generator().manual_seed(24)
    widths = [config.hidden_size, *DENSE]
    dense = [half(torch.randn(out, into, generator=generator) / into**0.5) for into, out in zip(widths, widths[1:])]
    folder_of(model, tokens, dense)
    reference = SentenceTransformer(str(FOLDER), model_kwargs={"dtype": torch.float32, "attn_implementation": "eager"})
    ids = [reference.tokenizer(text)["input_ids"] for text in TEXTS]
    assert all(row[0] == bos and row[-1] == eos for row in ids)
    cases = [
        {"name": "plain", "vectors": vectors(encode(reference))},
        {"name": "query", "vectors": vectors(encode(reference, PROMPTS["query"]))},
        {"name": "document", "vectors": vectors(encode(reference, PROMPTS["document"]))},
        {"name": "Clustering", "vectors": vectors(encode(reference, PROMPTS["Clustering"]))},
        {"name": "24 dimensions", "vectors": vectors(encode(reference, truncate_dim=24, normalize_embeddings=True))},
    ]
    paths = []
    for kind in (GGMLQuantizationType.F16, GGMLQuantizationType.Q4_0):
        path = FOLDER / "gguf" / f"{NAME}-{kind.name.lower()}.gguf"
        path.parent.mkdir(exist_ok=True)
        state, layers = save_gguf(path, model, pieces, dense, kind)
        paths.append(path)
    reference[0].auto_model.load_state_dict(state)
    for module, weight in zip((reference[2], reference[3]), layers):
        module.linear.weight.data.copy_(weight)
    cases.append({"name": "q4_0", "vectors": vectors(encode(reference))})
    for each in cases:
        each["texts"] = TEXTS
    write(
        FOLDER / "golden.json",
        "embeddings",
        "python test/vectors/gemma_embedding.py",
        ("torch", "transformers", "tokenizers", "sentence-transformers", "gguf"),
        model={"files": {each.name: sha256(each) for each in [FOLDER / "model.safetensors", *paths]}},
        tokens=[{"text": text, "ids": row} for text, row in zip(TEXTS, ids)],
        cases=cases,
    )
    print([len(row) for row in ids], sum(each.stat().st_size for each in FOLDER.rglob("*")), "bytes")


if __name__ == "__main__":
    main()
