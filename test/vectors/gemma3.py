"""Writes the golden files of Gemma 3 270M: prompt ids, top tokens and greedy answers of the reference; its mean NLL.

    python test/vectors/gemma3.py gemma-3-270m-q4_k_m.gguf wikitext2_valid.txt.gz [cases | nll]

The reference is transformers in float32 on the dequantised file. The tokenizer is SentencePiece itself, on a model made
of the file's pieces, scores and kinds. For the NLL, the first 20,000 ids of the text are cut into windows of 511 that
do not overlap. Each follows the token of the beginning of a text and is scored alone, all of its ids.

Needs: torch, transformers, gguf, sentencepiece, protobuf. Writes test/vectors/gemma3-270m.json and nll-gemma3.json.
"""

import gzip
import sys
from pathlib import Path

sys.path.append(sys.path.pop(0))  # tokenizers.py beside this file has the name of a package

import numpy  # noqa: E402
import sentencepiece  # noqa: E402
import torch  # noqa: E402
from gguf import GGUFReader  # noqa: E402
from gguf.quants import dequantize  # noqa: E402
from reference import case, sha256, write  # noqa: E402
from sentencepiece import sentencepiece_model_pb2 as proto  # noqa: E402
from transformers import Gemma3ForCausalLM, Gemma3TextConfig  # noqa: E402

STEPS = 48
TOKENS = 20_000
WINDOW = 511
KEPT = 2
MADE_BY = "python test/vectors/gemma3.py MODEL.gguf wikitext2_valid.txt.gz"
PACKAGES = ("torch", "transformers", "gguf", "sentencepiece")

PROMPTS = {
    "few tokens": "Once upon a time",
    "capital": "The capital of Norway is",
    "planets": "The planets of the solar system, in order from the sun, are Mercury,",
    "digits": "1, 2, 4, 8, 16, 32, 64, 128, 256,",
    "code": "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "scripts": "Bonjour, ça va? 你好，世界！ Привет 😀",
    "page": "<html>\n  <body>\n    <h1>Lighthouses</h1>\n\n\n    <p>",
    "letter": "Dear Mrs. Larsen,\n\nthank you for your letter of the third of May. I was glad to hear that",
    "question": "Question: Why is the sky blue?\nAnswer:",
    "recipe": "Pancakes\n\nIngredients:\n- 2 eggs\n- 200 g of flour\n-",
    "translation": "English: The cat sleeps on the sofa.\nFrench:",
    "lighthouse": " ".join(
        f"On day {day} the keeper of the lighthouse wrote that the wind came from the {wind}, "
        f"that {ships} ships had passed, and that the lamp had burned all night."
        for day, (wind, ships) in enumerate(
            [("north", 3), ("west", 0), ("south", 7), ("east", 12), ("north-west", 1), ("south", 4)] * 4, start=1
        )
    ),
}

TEXTS = [
    "  two spaces,   three,     five and a\ttab\t\tor two\n\n\n\nfour lines",
    "<b>bold</b> and <start_of_turn>user <table><tr>",
    "naïve café, Ærøskøbing, Straße, 東京タワー, 한국어, हिन्दी, العربية, ไทย",
    "👩‍👩‍👧‍👦 🏳️‍🌈 \u00a0 \u2003 \u200b \ufeff end",
    "x=3.14159; y = -2e10 // 0xFFEE_12\r\n\r\n",
    "▁▁under▁score",
]

NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "post_ffw_norm": "post_feedforward_layernorm",
}


def load(reader: GGUFReader) -> Gemma3ForCausalLM:
    field = lambda key: reader.fields[f"gemma3.{key}"].contents()  # noqa: E731
    layers = field("block_count")
    config = Gemma3TextConfig(
        vocab_size=len(reader.fields["tokenizer.ggml.tokens"].contents()),
        hidden_size=field("embedding_length"),
        intermediate_size=field("feed_forward_length"),
        num_hidden_layers=layers,
        num_attention_heads=field("attention.head_count"),
        num_key_value_heads=field("attention.head_count_kv"),
        head_dim=field("attention.key_length"),
        query_pre_attn_scalar=field("attention.key_length"),
        max_position_embeddings=field("context_length"),
        rms_norm_eps=1e-6,
        sliding_window=field("attention.sliding_window"),
        layer_types=["full_attention" if (layer + 1) % 6 == 0 else "sliding_attention" for layer in range(layers)],
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
            "full_attention": {"rope_type": "default", "rope_theta": field("rope.freq_base")},
        },
        attn_implementation="eager",
    )
    model = Gemma3ForCausalLM(config).float().eval()
    state = {}
    for tensor in reader.tensors:
        values = torch.from_numpy(numpy.array(dequantize(tensor.data, tensor.tensor_type), dtype=numpy.float32))
        if tensor.name.endswith("norm.weight"):
            values = values - 1
        kind = tensor.name.removesuffix(".weight")
        if kind.startswith("blk."):
            _, layer, rest = kind.split(".")
            kind = f"layers.{layer}.{NAMES[rest]}"
        kind = {"token_embd": "embed_tokens", "output_norm": "norm"}.get(kind, kind)
        state[f"model.{kind}.weight"] = values
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model.load_state_dict(state, strict=True)
    return model


def tokenizer(reader: GGUFReader) -> sentencepiece.SentencePieceProcessor:
    """Makes SentencePiece's own model of the file's vocabulary."""
    pieces = reader.fields["tokenizer.ggml.tokens"].contents()
    scores = reader.fields["tokenizer.ggml.scores"].contents()
    kinds = reader.fields["tokenizer.ggml.token_type"].contents()
    model = proto.ModelProto()
    model.trainer_spec.model_type = proto.TrainerSpec.BPE
    model.trainer_spec.byte_fallback = True
    model.trainer_spec.pad_id, model.trainer_spec.eos_id = 0, 1
    model.trainer_spec.bos_id, model.trainer_spec.unk_id = 2, 3
    model.trainer_spec.pad_piece, model.trainer_spec.eos_piece = pieces[0], pieces[1]
    model.trainer_spec.bos_piece, model.trainer_spec.unk_piece = pieces[2], pieces[3]
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = False
    model.normalizer_spec.remove_extra_whitespaces = False
    of = proto.ModelProto.SentencePiece
    types = {1: of.NORMAL, 2: of.UNKNOWN, 3: of.CONTROL, 4: of.USER_DEFINED, 5: of.UNUSED, 6: of.BYTE}
    for id, (piece, score, kind) in enumerate(zip(pieces, scores, kinds)):
        user = kind == 4
        text = piece.replace(" ", "▁") if user else piece
        kind = of.UNKNOWN if id == 3 else types[kind]
        model.pieces.add(piece=text, score=score, type=kind)
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


def main() -> None:
    path, text_path = Path(sys.argv[1]), Path(sys.argv[2])
    only = sys.argv[3] if len(sys.argv) > 3 else None
    reader = GGUFReader(path)
    pieces = tokenizer(reader)
    model = load(reader)
    source = {"alias": "gemma3-270m", "sha256": sha256(path)}
    if only != "nll":
        write_cases(pieces, model, source)
    if only != "cases":
        write_nll(pieces, model, source, gzip.decompress(text_path.read_bytes()).decode())


def write_cases(pieces: sentencepiece.SentencePieceProcessor, model: Gemma3ForCausalLM, source: dict) -> None:
    cases = []
    for name, text in PROMPTS.items():
        each = case(model, name, [pieces.bos_id()] + pieces.encode(text), STEPS, prompt=text)
        each["text"] = pieces.decode(each["greedy"])
        cases.append(each)
        print(name, len(each["ids"]), repr(each["text"]), flush=True)
    write(
        Path(__file__).parent / "gemma3-270m.json",
        "model",
        MADE_BY,
        PACKAGES,
        model=source,
        texts=[{"text": text, "ids": [pieces.bos_id()] + pieces.encode(text)} for text in TEXTS],
        cases=cases,
    )


def write_nll(pieces: sentencepiece.SentencePieceProcessor, model: Gemma3ForCausalLM, source: dict, text: str) -> None:
    # Pieces do not reach over lines, and the first ids come from the first characters.
    ids = pieces.encode(text[:200_000])[:TOKENS]
    assert len(ids) == TOKENS
    sums = []
    with torch.no_grad():
        for at in range(0, TOKENS, WINDOW):
            window = torch.tensor([pieces.bos_id()] + ids[at : at + WINDOW])
            logits = model(window[None]).logits[0, :-1]
            sums.append(float(torch.nn.functional.cross_entropy(logits, window[1:], reduction="sum")))
            print(f"window {len(sums)}: {sums[-1]:.4f} {sum(sums) / min(TOKENS, at + WINDOW):.4f}", flush=True)
    write(
        Path(__file__).parent / "nll-gemma3.json",
        "nll",
        MADE_BY,
        PACKAGES,
        model=source,
        tokens=TOKENS,
        window=WINDOW,
        mean_nll=round(sum(sums) / TOKENS, 6),
        window_sums=[round(value, 4) for value in sums],
        first_windows=[ids[i * WINDOW : (i + 1) * WINDOW] for i in range(KEPT)],
    )


if __name__ == "__main__":
    main()
