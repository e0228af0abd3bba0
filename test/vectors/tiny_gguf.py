"""Writes models of transformers as llama.cpp's converter does, for `tiny_families.py`."""

from pathlib import Path

import torch
from gguf import GGUFWriter, TokenType

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.query_layernorm": "attn_q_norm",
    "self_attn.key_layernorm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    "model.embedding_norm": "token_embd_norm",
    "operator_norm": "attn_norm",
    "ffn_norm": "ffn_norm",
    "conv.in_proj": "shortconv.in_proj",
    "conv.conv": "shortconv.conv",
    "conv.out_proj": "shortconv.out_proj",
    "self_attn.q_layernorm": "attn_q_norm",
    "self_attn.k_layernorm": "attn_k_norm",
    "self_attn.out_proj": "attn_output",
    "feed_forward.w1": "ffn_gate",
    "feed_forward.w2": "ffn_down",
    "feed_forward.w3": "ffn_up",
}
KINDS = {
    "control": TokenType.CONTROL,
    "user": TokenType.USER_DEFINED,
    "byte": TokenType.BYTE,
    "normal": TokenType.NORMAL,
}
# Families whose norm of this name stands behind attention.
BEHIND = ("gemma2", "gemma3", "olmo2", "exaone4")
# Families whose pairs of a head llama.cpp wants to be adjacent.
ADJACENT = ("llama", "smollm3", "granite")


def save_gguf(path: Path, model, pieces, merges: list[str], template: str, dtype=torch.float16) -> None:
    config = model.config
    names = {"gemma3_text": "gemma3", "hunyuan_v1_dense": "hunyuan-dense"}
    family = names.get(config.model_type, config.model_type)
    gemma = family.startswith("gemma")
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    writer = GGUFWriter(path, family)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    if family == "lfm2":
        kinds = config.layer_types
        writer.add_feed_forward_length(model.model.layers[0].feed_forward.w1.out_features)
        writer.add_head_count_kv([0 if kind == "conv" else config.num_key_value_heads for kind in kinds])
        writer.add_shortconv_l_cache(config.conv_L_cache)
        writer.add_vocab_size(config.vocab_size)
    else:
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config.norm_eps if family == "lfm2" else config.rms_norm_eps)
    # The converter stretches the base of Hunyuan's RoPE, in place of a scaling.
    stretch = rope.get("alpha", 1) ** (head_dim / (head_dim - 2))
    writer.add_rope_freq_base(rope["rope_theta"] * stretch)
    if rope["rope_type"] == "linear":
        writer.add_string(f"{family}.rope.scaling.type", "linear")
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(rope, head_dim).numpy())
    if gemma or family == "phi3":
        writer.add_sliding_window(config.sliding_window)
    if family == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if family == "granite":
        writer.add_attention_scale(config.attention_multiplier)
        writer.add_embedding_scale(config.embedding_multiplier)
        writer.add_residual_scale(config.residual_multiplier)
        writer.add_logit_scale(config.logits_scaling)
    if family == "phi3":
        writer.add_rope_dimension_count(int(head_dim * rope["partial_rotary_factor"]))
        writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
        inv_freq_scale = model.model.rotary_emb.attention_scaling
        writer.add_rope_scaling_attn_factors(inv_freq_scale)
        for kind in ["long", "short"]:
            factors = torch.tensor(rope[f"{kind}_factor"], dtype=torch.float32)
            writer.add_tensor(f"rope_factors_{kind}.weight", factors.numpy())
    add_tokenizer(writer, config, pieces, merges, template, gemma)
    for name, weight in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = weight.to(dtype)
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        for projection, count in heads.items():
            if family in ADJACENT and f".{projection}." in name:
                # Row i of the first half of a head and row i of its second half become adjacent.
                values = values.reshape(count, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
        if values.ndim == 3:
            values = values.squeeze(1).float()
        values = values.float() if values.ndim == 1 else values
        if gemma and name.endswith("norm.weight"):
            values = values + 1
        plain, _, kind = name.rpartition(".")
        writer.add_tensor(f"{gguf_name(plain, family)}.{kind}", values.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama3_factors(rope: dict, head_dim: int) -> torch.Tensor:
    """Returns the divisors of the frequencies that the converter computes of Llama 3's scaling."""
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    factors = []
    for index in range(0, head_dim, 2):
        turns = rope["original_max_position_embeddings"] / (2 * torch.pi * rope["rope_theta"] ** (index / head_dim))
        smooth = min(1, max(0, (turns - low) / (high - low)))
        factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return torch.tensor(factors, dtype=torch.float32)


def gguf_name(name: str, family: str) -> str:
    if not name.startswith("model.layers."):
        return NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    behind = rest == "post_attention_layernorm" and family in BEHIND
    return f"blk.{layer}.{'post_attention_norm' if behind else NAMES[rest]}"


def add_tokenizer(writer: GGUFWriter, config, pieces, merges: list[str], template: str, gemma: bool) -> None:
    writer.add_tokenizer_model("llama" if gemma else "gpt2")
    writer.add_tokenizer_pre("default" if gemma else "gpt-2")
    # The converter writes spaces of tokens that users defined as spaces.
    writer.add_token_list([piece.replace("▁", " ") if kind == "user" else piece for piece, _, kind in pieces])
    writer.add_token_types([KINDS[kind] for _, _, kind in pieces])
    if gemma:
        writer.add_token_scores([score for _, score, _ in pieces])
        writer.add_add_space_prefix(False)
        writer.add_unk_token_id(3)
    else:
        writer.add_token_merges(merges)
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    writer.add_pad_token_id(config.pad_token_id)
    writer.add_add_bos_token(gemma)
    writer.add_chat_template(template)
