"""The base's tokenizer and chat template, from its GGUF file."""

import jinja2
from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers


class Tokens:
    """SmolLM2's byte-level BPE with single digits (pre-tokenizer `smollm`)."""

    def __init__(self, reader: GGUFReader):
        field = lambda name: reader.fields[f"tokenizer.{name}"].contents()
        if (field("ggml.model"), field("ggml.pre")) != ("gpt2", "smollm"):
            raise ValueError(f"there is no tokenizer for {field('ggml.model')} with {field('ggml.pre')}")
        tokens, kinds = field("ggml.tokens"), field("ggml.token_type")
        merges = [tuple(merge.split(" ")) for merge in field("ggml.merges")]
        self.tokenizer = Tokenizer(models.BPE({token: id for id, token in enumerate(tokens)}, merges))
        self.tokenizer.add_special_tokens(
            [AddedToken(token, special=True) for token, kind in zip(tokens, kinds) if kind == 3]
        )
        self.tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        self.tokenizer.decoder = decoders.ByteLevel()
        self.template = jinja2.Environment().from_string(field("chat_template"))

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def chat(self, messages: list[dict[str, str]]) -> str:
        return self.template.render(messages=messages)
