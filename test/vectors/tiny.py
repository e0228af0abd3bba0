"""Makes tiny random models of each architecture as Hugging Face folders, with the results of transformers.

    python test/vectors/tiny.py

tiny-llama3: float32, RoPE scaled as in Llama 3 (config.json in the format before transformers 5, as
    in published models), separate output head, three shards with an index.
tiny-qwen2: bfloat16, biases on q, k and v, tied projection.
tiny-qwen3: float16, RMS norm on q and k, heads wider than hidden / heads, tied projection.
tiny-mistral: float16, a window of 24 tokens on all layers, separate output head; also as a GGUF in
    gguf/, as llama.cpp writes it: as a llama, with wq and wk permuted.

With names of folders only those are made: python test/vectors/tiny.py tiny-mistral

Needs: torch, transformers, tokenizers, and gguf for the GGUF. Writes test/vectors/tiny-*/ with
golden.json in each. The weights are rounded to the type, saved so, and run in float32.
"""

import json
import shutil
import sys
from pathlib import Path

sys.path.append(sys.path.pop(0))  # tokenizers.py beside this file has the name of a package

import torch  # noqa: E402
from reference import case, sha256, write  # noqa: E402
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers  # noqa: E402
from transformers import (  # noqa: E402
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

STEPS = 24
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<pad>"]
MERGES = ["Ġ t", "h e", "Ġt he", "Ġ a", "i n", "e r", "o n", "Ġ s", "r e", "a n", "Ġ w", "n d", "o u", "Ġ c", "a t", "i s"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BASE = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 3,
    "attn_implementation": "eager",
}


def tokenizer() -> Tokenizer:
    """Makes a byte-level BPE: 4 special tokens, 256 bytes, 16 merges."""
    tokens = SPECIAL + sorted(pre_tokenizers.ByteLevel.alphabet()) + [merge.replace(" ", "") for merge in MERGES]
    made = Tokenizer(models.BPE({token: id for id, token in enumerate(tokens)}, [tuple(m.split(" ")) for m in MERGES]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return made


def randomise(model, seed: int, dtype: torch.dtype) -> None:
    """Makes weights large enough that the logits differ, rounded to `dtype`; norms near 1 and biases not 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if name.endswith("norm.weight"):
                value = 1 + 0.2 * noise
            elif name.endswith("bias"):
                value = 0.5 * noise
            elif "embed_tokens" in name or "lm_head" in name:
                value = 0.5 * noise
            else:
                value = noise * 1.2 / weight.shape[1] ** 0.5
            weight.copy_(value.to(dtype).float())


def save(name: str, model, dtype: torch.dtype, seed: int, shard: str | None = None) -> None:
    folder = Path(__file__).parent / name
    if len(sys.argv) > 1 and name not in sys.argv[1:]:
        return
    shutil.rmtree(folder, ignore_errors=True)
    model = model.float().eval()
    randomise(model, seed, dtype)
    tokens = tokenizer()
    assert model.config.vocab_size >= tokens.get_vocab_size()
    prompts = {
        "one": "t",
        "sentence": "the cat sat on the mat and then",
        "long": "in the town where I was born, there lived a man who sailed to sea. " * 3,
    }
    cases = [case(model, key, tokens.encode(text).ids, STEPS, prompt=text) for key, text in prompts.items()]
    model.generation_config = None
    saved = type(model)(model.config).to(dtype)
    saved.load_state_dict({key: value.to(dtype) for key, value in model.state_dict().items()})
    saved.config.dtype = dtype
    saved.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    (folder / "generation_config.json").unlink(missing_ok=True)
    if name == "tiny-llama3":
        older_config(folder / "config.json")
    for each in folder.glob("*.safetensors"):
        each.chmod(0o644)
    tokens.save(str(folder / "tokenizer.json"), pretty=False)
    config = {
        "bos_token": SPECIAL[0],
        "eos_token": SPECIAL[2],
        "pad_token": SPECIAL[3],
        "add_bos_token": False,
        "chat_template": TEMPLATE,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config) + "\n")
    shards = sorted(folder.glob("*.safetensors"))
    if name == "tiny-mistral":
        # It is in a separate folder: if both formats are in one, the GGUF is opened.
        path = folder / "gguf" / "tiny-mistral.gguf"
        path.parent.mkdir()
        save_gguf(path, model, tokens)
        shards.append(path)
    write(
        folder / "golden.json",
        "model",
        "python test/vectors/tiny.py",
        ("torch", "transformers", "tokenizers"),
        model={"files": {each.name: sha256(each) for each in shards}},
        cases=cases,
    )
    for each in cases:
        print(name, each["name"], len(each["ids"]), each["margins"][:6], each["top"][0])
    print(name, sum(each.stat().st_size for each in folder.rglob("*")), "bytes in", len(shards), "weight files")


def save_gguf(path: Path, model, tokens: Tokenizer) -> None:
    """Writes a Mistral as llama.cpp does: a llama with adjacent pairs in a head, and the window in its metadata."""
    from gguf import GGUFWriter, TokenType

    config = model.config
    writer = GGUFWriter(path, "llama")
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
    writer.add_sliding_window(config.sliding_window)
    names = [token for token, _ in sorted(tokens.get_vocab().items(), key=lambda item: item[1])]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(names)
    writer.add_token_types([TokenType.CONTROL if name in SPECIAL else TokenType.NORMAL for name in names])
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    gguf_names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    for name, weight in model.state_dict().items():
        values = weight.to(torch.float16)
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        for projection, count in heads.items():
            if f".{projection}." in name:
                # Row i of the first half of a head and row i of its second half become adjacent.
                values = values.reshape(count, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
        plain = name.removesuffix(".weight")
        if plain.startswith("model.layers."):
            _, _, layer, rest = plain.split(".", 3)
            plain = f"blk.{layer}.{gguf_names[rest]}"
        else:
            plain = gguf_names[plain]
        values = values.float() if values.ndim == 1 else values
        writer.add_tensor(f"{plain}.weight", values.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def older_config(path: Path) -> None:
    config = json.loads(path.read_text())
    scaling = config.pop("rope_parameters")
    config["rope_theta"] = scaling.pop("rope_theta")
    config["rope_scaling"] = scaling
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2) + "\n")


def main() -> None:
    vocab = len(SPECIAL) + 256 + len(MERGES)
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    llama = LlamaConfig(
        **BASE, vocab_size=vocab, hidden_size=32, intermediate_size=96, rope_parameters=scaling, tie_word_embeddings=False
    )
    save("tiny-llama3", LlamaForCausalLM(llama), torch.float32, 1, "80KB")
    plain = {"rope_type": "default", "rope_theta": 1000000.0}
    qwen2 = Qwen2Config(
        **BASE, vocab_size=vocab, hidden_size=64, intermediate_size=160, rope_parameters=plain, tie_word_embeddings=True
    )
    save("tiny-qwen2", Qwen2ForCausalLM(qwen2), torch.bfloat16, 2)
    qwen3 = Qwen3Config(
        **BASE,
        vocab_size=vocab,
        hidden_size=64,
        intermediate_size=160,
        head_dim=24,
        rope_parameters=plain,
        tie_word_embeddings=True,
    )
    save("tiny-qwen3", Qwen3ForCausalLM(qwen3), torch.float16, 3)
    mistral = MistralConfig(
        **BASE,
        vocab_size=vocab,
        hidden_size=32,
        intermediate_size=96,
        head_dim=16,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=False,
        sliding_window=24,
    )
    save("tiny-mistral", MistralForCausalLM(mistral), torch.float16, 5)


if __name__ == "__main__":
    main()
