"""Makes a tiny random Qwen3 embedding model as a sentence-transformers folder, with the vectors of the reference.

    python test/vectors/embeddings.py

tiny-embedding-qwen3: float16, saved as published ones are: a model without a head, whose tensors have no `model.`
    prefix; its tokenizer ends each text with <|endoftext|>; pooling of the last token, normalised; a prompt for
    queries. golden.json has what sentence-transformers makes of texts, with and without the prompt, and what it makes
    with the pooling replaced. gguf/ has the same model as llama.cpp writes it, in float16 and in Q4_0; the golden
    vectors of the latter are those of its dequantised weights.
tiny-reranker-qwen3: a Qwen3 with a head, and the scores of the model card's own code for Qwen3-Reranker.

Needs: torch, transformers, tokenizers, sentence-transformers and gguf.
"""

import json
import shutil
import sys
from pathlib import Path

sys.path.append(sys.path.pop(0))  # tokenizers.py beside this file has the name of a package

import numpy as np  # noqa: E402
import torch  # noqa: E402
from gguf import GGMLQuantizationType, GGUFWriter, PoolingType, TokenType, dequantize, quantize  # noqa: E402
from reference import sha256, write  # noqa: E402
from sentence_transformers import SentenceTransformer  # noqa: E402
from tiny import BASE, MERGES, SPECIAL, TEMPLATE, randomise, tokenizer  # noqa: E402
from tokenizers import processors  # noqa: E402
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3Model  # noqa: E402

HERE = Path(__file__).parent
PROMPTS = {"query": "Instruct: find the answer\nQuery:", "document": ""}
TEXTS = [
    "t",
    "the cat sat on the mat and then",
    "in the town where I was born, there lived a man who sailed to sea. " * 3,
    "Grüße aus 東京! <|im_end|> is not a token here",
    " leading space, and trailing ",
]
CONFIG = {
    **BASE,
    "vocab_size": len(SPECIAL) + 256 + len(MERGES),
    "hidden_size": 64,
    "intermediate_size": 160,
    "head_dim": 24,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
    "tie_word_embeddings": True,
}


def dump(path: Path, value) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def save_tokenizer(folder: Path, ends: bool) -> None:
    made = tokenizer()
    if ends:
        made.post_processor = processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=False),
                processors.TemplateProcessing(
                    single="$A <|endoftext|>", pair="$A <|endoftext|> $B <|endoftext|>", special_tokens=[(SPECIAL[0], 0)]
                ),
            ]
        )
    made.save(str(folder / "tokenizer.json"), pretty=False)
    config = {
        "bos_token": None,
        "eos_token": SPECIAL[2],
        "pad_token": SPECIAL[3],
        "add_bos_token": False,
        "chat_template": TEMPLATE,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    dump(folder / "tokenizer_config.json", config)


def rounded(model, dtype: torch.dtype, folder: Path) -> None:
    """Saves the weights of a model rounded to `dtype`."""
    saved = type(model)(model.config).to(dtype)
    saved.load_state_dict({key: value.to(dtype) for key, value in model.state_dict().items()})
    saved.config.dtype = dtype
    saved.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    for each in folder.glob("*.safetensors"):
        each.chmod(0o644)


def modules(folder: Path) -> None:
    """Writes the files of sentence-transformers as published models have them."""
    package = "sentence_transformers.models"
    dump(
        folder / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": f"{package}.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{package}.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{package}.Normalize"},
        ],
    )
    flags = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]
    dump(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": CONFIG["hidden_size"],
            **{f"pooling_mode_{flag}": flag == "lasttoken" for flag in flags},
            "include_prompt": True,
        },
    )
    dump(
        folder / "config_sentence_transformers.json",
        {"prompts": PROMPTS, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )


def vectors(found: np.ndarray) -> list[list[float]]:
    return [[float(f"{value:.8g}") for value in row] for row in found.astype(np.float64)]


# A text of a special token is a token for transformers' tokenizer, and letters for foretoken.
def ids_of(model: SentenceTransformer, text: str) -> list[int]:
    plain = tokenizer()
    plain.encode_special_tokens = True
    return plain.encode(text).ids + [0]


def encode(model: SentenceTransformer, prefix: str = "") -> np.ndarray:
    """Runs the modules of the model on our ids, which differ from its own only in texts of special tokens."""
    rows = []
    for text in TEXTS:
        ids = ids_of(model, prefix + text)
        if "<|" not in text:
            own = model.tokenizer(prefix + text)["input_ids"]
            assert own == ids, (own, ids)
        features = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        with torch.no_grad():
            rows.append(model(features)["sentence_embedding"][0].numpy())
    whole = [index for index, text in enumerate(TEXTS) if "<|" not in text]
    direct = model.encode([TEXTS[index] for index in whole], prompt=prefix)
    assert np.abs(direct - np.stack(rows)[whole]).max() < 1e-5
    return np.stack(rows)


def embedding(name: str) -> None:
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    model = Qwen3Model(Qwen3Config(**CONFIG)).float().eval()
    randomise(model, 7, torch.float16)
    rounded(model, torch.float16, folder)
    save_tokenizer(folder, ends=True)
    modules(folder)
    reference = SentenceTransformer(str(folder), model_kwargs={"dtype": torch.float32, "attn_implementation": "eager"})
    cases = [
        {"name": "document", "vectors": vectors(encode(reference))},
        {"name": "query", "vectors": vectors(encode(reference, PROMPTS["query"]))},
    ]
    for mode, pooling in (("mean", "mean"), ("cls", "cls")):
        reference[1].pooling_mode = mode
        cases.append({"name": pooling, "vectors": vectors(encode(reference))})
    reference[1].pooling_mode = "lasttoken"
    paths = []
    for kind, quantised in ((GGMLQuantizationType.F16, None), (GGMLQuantizationType.Q4_0, "q4_0")):
        path = folder / "gguf" / f"{name}-{kind.name.lower()}.gguf"
        path.parent.mkdir(exist_ok=True)
        state = save_gguf(path, model, kind)
        paths.append(path)
        if quantised:
            reference[0].auto_model.load_state_dict(state)
            cases.append({"name": quantised, "vectors": vectors(encode(reference))})
    for each in cases:
        each["texts"] = TEXTS
    write(
        folder / "golden.json",
        "embeddings",
        "python test/vectors/embeddings.py",
        ("torch", "transformers", "tokenizers", "sentence-transformers", "gguf"),
        model={"files": {each.name: sha256(each) for each in [folder / "model.safetensors", *paths]}},
        cases=cases,
    )


def save_gguf(path: Path, model, kind: GGMLQuantizationType) -> dict:
    """Writes a Qwen3 embedding model as llama.cpp does, and returns the weights that a reader gets."""
    config = model.config
    writer = GGUFWriter(path, "qwen3")
    writer.add_name("tiny embedding")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_pooling_type(PoolingType.LAST)
    tokens = tokenizer()
    names = [token for token, _ in sorted(tokens.get_vocab().items(), key=lambda item: item[1])]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(names)
    writer.add_token_types([TokenType.CONTROL if name in SPECIAL else TokenType.NORMAL for name in names])
    writer.add_token_merges(MERGES)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(True)
    gguf_names = {
        "embed_tokens": "token_embd",
        "norm": "output_norm",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "self_attn.q_norm": "attn_q_norm",
        "self_attn.k_norm": "attn_k_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    state = {}
    for name, weight in model.state_dict().items():
        plain = name.removesuffix(".weight")
        if plain.startswith("layers."):
            _, layer, rest = plain.split(".", 2)
            plain = f"blk.{layer}.{gguf_names[rest]}"
        else:
            plain = gguf_names[plain]
        values = weight.float().numpy()
        if values.ndim == 1:
            writer.add_tensor(f"{plain}.weight", values)
            state[name] = weight
        else:
            stored = quantize(values, kind)
            writer.add_tensor(f"{plain}.weight", stored, raw_dtype=kind)
            state[name] = torch.from_numpy(dequantize(stored, kind).astype(np.float32)).reshape(weight.shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return state


INSTRUCT = "Given a web search query, retrieve relevant passages that answer the query"


def reranker(name: str) -> None:
    """Scores documents as the model card of Qwen3-Reranker does; the words yes and no are tokens of their own."""
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    merges = ["y e", "ye s", "n o"]
    config = Qwen3Config(**{**CONFIG, "vocab_size": CONFIG["vocab_size"] + len(merges)})
    model = Qwen3ForCausalLM(config).float().eval()
    randomise(model, 11, torch.float16)
    save_tokenizer(folder, ends=False)
    described = json.loads((folder / "tokenizer.json").read_text())
    for merge in merges:
        described["model"]["merges"].append(merge.split(" "))
        described["model"]["vocab"][merge.replace(" ", "")] = len(described["model"]["vocab"])
    (folder / "tokenizer.json").write_text(json.dumps(described, ensure_ascii=False, separators=(",", ":")) + "\n")
    from tokenizers import Tokenizer

    tokens = Tokenizer.from_file(str(folder / "tokenizer.json"))
    yes, no = tokens.token_to_id("yes"), tokens.token_to_id("no")
    # Scores near 0 or 1 would be alike whatever the states are.
    with torch.no_grad():
        rows = model.model.embed_tokens.weight
        rows[no] = (rows[yes] + 0.1 * rows[no]).half().float()
    rounded(model, torch.float16, folder)
    prefix = (
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
        'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    )
    suffix = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    query = "where was the man born?"
    documents = [text for text in TEXTS if "<|" not in text]
    cases = []
    for instruct in (INSTRUCT, "find the town"):
        scores = []
        for document in documents:
            pair = f"<Instruct>: {instruct}\n<Query>: {query}\n<Document>: {document}"
            ids = tokens.encode(prefix).ids + tokens.encode(pair).ids + tokens.encode(suffix).ids
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, -1]
            scores.append(float(torch.softmax(torch.stack([logits[no], logits[yes]]), 0)[1]))
        cases.append({"name": instruct, "query": query, "documents": documents, "scores": scores})
    write(
        folder / "golden.json",
        "rerank",
        "python test/vectors/embeddings.py",
        ("torch", "transformers", "tokenizers"),
        model={"files": {"model.safetensors": sha256(folder / "model.safetensors")}},
        cases=cases,
    )
    print([case["scores"] for case in cases])


if __name__ == "__main__":
    embedding("tiny-embedding-qwen3")
    reranker("tiny-reranker-qwen3")
