"""Makes tiny random models of further families as Hugging Face folders and as GGUFs, with the results of transformers.

    python test/vectors/tiny_families.py [tiny-NAME ...]

Each model is float16 and shows what its family computes differently:
tiny-gemma3: windows of 24 tokens on five of six layers, two bases of RoPE, a linear scaling of one, norms on heads, around
    both halves and stored as differences from 1, gelu, scaled embeddings, SentencePiece with bytes.
tiny-gemma2: windows on every second layer, soft caps of scores and logits.
tiny-phi3: packed q, k and v, packed gate and up, RoPE on three quarters of a head, longrope with a first context of 256
    tokens: a prompt that is longer, and in growing.json an answer that goes beyond it.
tiny-smollm3: no RoPE in every fourth layer.
tiny-granite: factors of embeddings, scores, what layers add, and logits.
tiny-olmo2: norms behind both halves only, and norms of q and k over all heads.
tiny-exaone4, tiny-exaone4-windows: norms behind both halves only, and norms of q and k on heads; in the second windows on
    three of four layers, and no RoPE on the others. Only as a folder.
tiny-hunyuan-dense: norms of q and k on heads behind RoPE, whose base is stretched by an alpha.
tiny-ministral: windows on every second layer of a mistral. Only as a folder.
tiny-llama3, tiny-qwen2, tiny-qwen3: only the GGUFs of models that tiny.py makes, and removes when it makes them again.
tiny-lfm2: gated short convolutions beside attention, which differ from it in the width that they keep for a token.

Needs: torch, transformers, tokenizers, gguf. Writes test/vectors/tiny-NAME/, with the GGUF in gguf/ as llama.cpp's
converter writes it: with its names and keys, wq and wk permuted where it does, and 1 added to Gemma's norms.
"""

import json
import shutil
import sys
from pathlib import Path

sys.path.append(sys.path.pop(0))  # tokenizers.py beside this file has the name of a package

import torch  # noqa: E402
import transformers  # noqa: E402
from reference import case, sha256, write  # noqa: E402
from tiny import BASE, MERGES, SPECIAL, STEPS, TEMPLATE, tokenizer  # noqa: E402
from tiny_gguf import save_gguf  # noqa: E402
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers  # noqa: E402

LINE = "in the town where I was born, there lived a man who sailed to sea. "
PROMPTS = {"one": "t", "sentence": "the cat sat on the mat and then", "long": LINE * 3}
GEMMA_SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>{{ message['role'] }}\n{{ message['content'] }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def sentencepiece() -> tuple[Tokenizer, list[tuple[str, float, str]]]:
    """Makes Gemma's kind of BPE, and its pieces with their scores and kinds."""
    user = ["\n\n", "▁▁", "▁▁▁", "<b>"]
    letters = ["▁"] + [chr(code) for code in range(ord("a"), ord("z") + 1)] + list(".,!IABé")
    merges = [merge.replace("Ġ", "▁") for merge in MERGES]
    pieces = [(piece, 0.0, "control") for piece in GEMMA_SPECIAL]
    pieces += [(piece, 0.0, "user") for piece in user]
    pieces += [(f"<0x{byte:02X}>", 0.0, "byte") for byte in range(256)]
    # The first merge has the best score, as in SentencePiece's BPE; letters come after all of them.
    pieces += [(merge.replace(" ", ""), -float(rank), "normal") for rank, merge in enumerate(merges)]
    pieces += [(letter, -float(len(merges) + at), "normal") for at, letter in enumerate(letters)]
    vocab = {piece: id for id, (piece, _, _) in enumerate(pieces)}
    # Runs of spaces, which SentencePiece finds before all else, are merges before all others in Gemma's tokenizer.json.
    runs = [("▁", "▁"), ("▁▁", "▁")]
    bpe = models.BPE(vocab, runs + [tuple(m.split(" ")) for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    made = Tokenizer(bpe)
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.add_tokens([AddedToken(piece, special=False, normalized=False) for piece in user])
    made.add_special_tokens([AddedToken(piece, special=True) for piece in GEMMA_SPECIAL])
    return made, pieces


def byte_level() -> tuple[Tokenizer, list[tuple[str, float, str]]]:
    made = tokenizer()
    names = [token for token, _ in sorted(made.get_vocab().items(), key=lambda item: item[1])]
    return made, [(name, 0.0, "control" if name in SPECIAL else "normal") for name in names]


def randomise(model, seed: int, norms_from: float, embedding: float) -> None:
    """Makes weights large enough that the logits differ, rounded to float16; norms near `norms_from`.

    Embeddings of the size `embedding`: a tied head with larger ones than what layers add repeats the last token. The
    last norm makes up for it in the logits.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if name in ("model.norm.weight", "model.embedding_norm.weight"):
                value = norms_from - 1 + 0.5 / embedding + 0.2 * noise
            elif name.endswith("norm.weight"):
                value = norms_from + 0.2 * noise
            elif weight.ndim == 3:
                value = noise * 0.7
            elif "embed_tokens" in name:
                value = embedding * noise
            elif "lm_head" in name:
                value = 0.5 * noise
            else:
                value = noise * 1.2 / weight.shape[1] ** 0.5
            weight.copy_(value.half().float())


def growing(model, name: str, ids: list[int], prompt: str) -> dict:
    """Returns an answer of which each token is computed anew from all before it, and the top tokens after its last."""
    grown = list(ids)
    margins = []
    with torch.no_grad():
        for _ in range(STEPS):
            two = torch.topk(model(torch.tensor([grown]), use_cache=False).logits[0, -1], 2)
            grown.append(int(two.indices[0]))
            margins.append(round(float(two.values[0] - two.values[1]), 4))
    last = case(model, name, grown[:-1], 1)
    return {"name": name, "prompt": prompt, "ids": ids, "greedy": grown[len(ids) :], "margins": margins, "top": last["top"]}


def save(
    name: str,
    architecture: str,
    seed: int,
    embedding: float = 0.5,
    gguf: bool = True,
    prompts: dict[str, str] = {},
    grows: dict[str, str] = {},
    **settings,
) -> None:
    if len(sys.argv) > 1 and name not in sys.argv[1:]:
        return
    gemma = architecture.startswith("Gemma")
    tokens, pieces = sentencepiece() if gemma else byte_level()
    special = {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0} if gemma else {}
    shape = {**BASE, "vocab_size": len(pieces), "hidden_size": 64, "intermediate_size": 96, **special, **settings}
    # Keys of None are not passed, and "none" is passed as None.
    given = {key: None if value == "none" else value for key, value in shape.items() if value is not None}
    config = getattr(transformers, f"{architecture}Config")(**given)
    model = getattr(transformers, f"{architecture.removesuffix('Text')}ForCausalLM")(config).float().eval()
    randomise(model, seed, 0.0 if gemma else 1.0, embedding)
    encode = lambda text: ([2] if gemma else []) + tokens.encode(text, add_special_tokens=False).ids  # noqa: E731
    cases = [case(model, key, encode(text), STEPS, prompt=text) for key, text in {**PROMPTS, **prompts}.items()]
    grown = [growing(model, key, encode(text), text) for key, text in grows.items()]
    texts = ["t h e  cat\n\n\n\non   the <b> mat<end_of_turn> é€ 🙂", "  the", "\n", "in\tthe"]
    model.generation_config = None
    folder = Path(__file__).parent / name
    shutil.rmtree(folder, ignore_errors=True)
    saved = type(model)(model.config).half()
    saved.load_state_dict({key: value.half() for key, value in model.state_dict().items()})
    saved.config.dtype = torch.float16
    saved.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "model.safetensors").chmod(0o644)
    tokens.save(str(folder / "tokenizer.json"), pretty=False)
    template = GEMMA_TEMPLATE if gemma else TEMPLATE
    names = [piece for piece, _, _ in pieces]
    ids = {"bos": config.bos_token_id, "eos": config.eos_token_id, "pad": config.pad_token_id}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                **{f"{key}_token": names[id] for key, id in ids.items()},
                "add_bos_token": gemma,
                "chat_template": template,
                "tokenizer_class": "PreTrainedTokenizerFast",
            }
        )
        + "\n"
    )
    path = folder / "gguf" / f"{name}.gguf"
    if gguf:
        path.parent.mkdir()
        save_gguf(path, model, pieces, [] if gemma else MERGES, template)
    write(
        folder / "golden.json",
        "model",
        f"python test/vectors/tiny_families.py {name}",
        ("torch", "transformers", "tokenizers", "gguf"),
        model={"files": {each.name: sha256(each) for each in [folder / "model.safetensors", *[path] * gguf]}},
        texts=[{"text": text, "ids": encode(text)} for text in texts],
        cases=cases,
    )
    if grown:
        packages = ("torch", "transformers", "tokenizers")
        write(folder / "growing.json", "growing", f"python test/vectors/tiny_families.py {name}", packages, cases=grown)
    for each in cases + grown:
        print(name, each["name"], len(each["ids"]), each["margins"][:6], each["top"][0])
    print(name, sum(each.stat().st_size for each in folder.rglob("*")), "bytes")


def twin(name: str, dtype: torch.dtype = torch.float16) -> None:
    """Writes the GGUF of a model that `tiny.py` made. Its golden file stays as it is."""
    if len(sys.argv) > 1 and name not in sys.argv[1:]:
        return
    folder = Path(__file__).parent / name
    path = folder / "gguf" / f"{name}.gguf"
    path.parent.mkdir(exist_ok=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    _, pieces = byte_level()
    save_gguf(path, model, pieces, MERGES, TEMPLATE, dtype)
    print(path, path.stat().st_size, "bytes")


def main() -> None:
    slides = ["sliding_attention"] * 5 + ["full_attention"]
    save(
        "tiny-gemma3",
        "Gemma3Text",
        11,
        embedding=0.05,
        num_hidden_layers=7,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=24,
        layer_types=(slides * 2)[:7],
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
        },
    )
    save(
        "tiny-gemma2",
        "Gemma2",
        12,
        embedding=0.05,
        num_hidden_layers=3,
        head_dim=24,
        query_pre_attn_scalar=24,
        sliding_window=24,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=8.0,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )
    save(
        "tiny-phi3",
        "Phi3",
        13,
        prompts={"beyond the first context": LINE * 7},
        grows={"beyond the first context": LINE * 5 + "the cat sat on the"},
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.75,
            "short_factor": [1.0, 1.1, 1.2, 1.4, 1.8, 2.5],
            "long_factor": [1.0, 2.0, 4.0, 8.0, 16.0, 32.0],
            "original_max_position_embeddings": 256,
        },
        original_max_position_embeddings=256,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        sliding_window=100,
    )
    save(
        "tiny-smollm3",
        "SmolLM3",
        14,
        num_hidden_layers=4,
        rope_parameters={"rope_type": "default", "rope_theta": 50000.0},
        tie_word_embeddings=True,
    )
    save(
        "tiny-granite",
        "Granite",
        15,
        embedding=0.1,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        attention_multiplier=0.4,
        embedding_multiplier=3.0,
        residual_multiplier=0.6,
        logits_scaling=1.6,
        tie_word_embeddings=True,
    )
    save(
        "tiny-olmo2",
        "Olmo2",
        16,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        tie_word_embeddings=False,
    )
    save(
        "tiny-lfm2",
        "Lfm2",
        17,
        embedding=0.1,
        num_hidden_layers=6,
        num_key_value_heads=1,
        layer_types=["conv", "conv", "full_attention", "conv", "full_attention", "conv"],
        conv_L_cache=3,
        intermediate_size=130,
        block_multiple_of=16,
        norm_eps=1e-5,
        rms_norm_eps=None,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        tie_word_embeddings=True,
    )
    plain = {"rope_type": "default", "rope_theta": 10000.0}
    save(
        "tiny-exaone4",
        "Exaone4",
        18,
        rope_parameters=plain,
        layer_types=["full_attention"] * 2,
        sliding_window="none",
        tie_word_embeddings=True,
    )
    save(
        "tiny-exaone4-windows",
        "Exaone4",
        19,
        gguf=False,
        num_hidden_layers=4,
        rope_parameters=plain,
        sliding_window=24,
        sliding_window_pattern=4,
        tie_word_embeddings=True,
    )
    save(
        "tiny-hunyuan-dense",
        "HunYuanDenseV1",
        22,
        head_dim=16,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 1.0, "alpha": 30.0},
        tie_word_embeddings=True,
    )
    save(
        "tiny-ministral",
        "Ministral",
        21,
        gguf=False,
        head_dim=16,
        rope_parameters=plain,
        sliding_window=24,
        layer_types=["full_attention", "sliding_attention"],
        tie_word_embeddings=False,
    )
    twin("tiny-llama3", torch.float32)
    twin("tiny-qwen2")
    twin("tiny-qwen3")


if __name__ == "__main__":
    main()
