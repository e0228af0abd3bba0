"""Splits texts into words with Hugging Face's `tokenizers`, for the pre-tokenizers of published models.

    python test/vectors/words.py [SmolLM2-135M-Instruct.Q4_1.gguf]
    python test/vectors/words.py --random 5000 --seed 1 > words.json && node test/suites/words-main.ts words.json

Needs: tokenizers; gguf for the first form with a model. The first form writes
test/vectors/words.json, and with the model test/vectors/smollm2-words.json, its ids for the same
texts. The second prints random texts with their words, and writes no file here.
"""

import argparse
import importlib.metadata
import json
import random
import sys
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

HERE = Path(__file__).parent
GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def split(pattern: dict, behavior: str, invert: bool = False) -> dict:
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def sequence(*steps: dict) -> dict:
    return {"type": "Sequence", "pretokenizers": list(steps)}


SPECS = {
    "gpt-2": BYTES,
    "gpt-2 with a space in front": {**BYTES, "add_prefix_space": True},
    "smollm": sequence({"type": "Digits", "individual_digits": True}, BYTES),
    "llama 3": sequence(split({"Regex": GPT4}, "Isolated"), {**BYTES, "use_regex": False}),
    "qwen 2": sequence(split({"Regex": GPT4.replace("{1,3}", "")}, "Isolated"), {**BYTES, "use_regex": False}),
    "digits together": {"type": "Digits", "individual_digits": False},
    "punctuation": {"type": "Punctuation", "behavior": "Isolated"},
    "punctuation together": {"type": "Punctuation", "behavior": "Contiguous"},
    "punctuation with what is before": {"type": "Punctuation", "behavior": "MergedWithPrevious"},
    "white space": {"type": "WhitespaceSplit"},
    "words": {"type": "Whitespace"},
    "bert": {"type": "BertPreTokenizer"},
    "metaspace": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    "metaspace, first": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False},
    "digits, removed": split({"Regex": r"\d+"}, "Removed"),
    "letters, kept": split({"Regex": r"\p{L}+"}, "Removed", True),
    "a string": split({"String": " "}, "MergedWithPrevious"),
    "a string, next": split({"String": "a."}, "MergedWithNext"),
    "lines": split({"Regex": r"\n"}, "MergedWithNext"),
    "runs": split({"Regex": r"[a-z]"}, "Contiguous"),
}
TEXTS = [
    "Hello, world! It's 2024.",
    "x² + ½ y",
    "٣٤٥ ⅷ ๑๒๓ १२३ 一二三 Ⅻ ①②",
    "a1b22c333 4,444.55",
    "  two  spaces   three\t\ttabs \n\n lines\r\n",
    "we'll WE'LL they've I'm 'tis",
    "nbsp\u00a0em\u2003next\u0085line\ufefffeff\u200bzero",
    "a.b..c...¿qué? «да» 「はい」—–_-",
    "Straße ﬁn e\u0301 é İ ſ K",
    "😀👩‍👩‍👧 ❤️ 🇳🇴",
    "def f(a, b):\n    return a[0] + b['k'] #!$%^&*",
    "ไทย ภาษา हिन्दी عربي",
    " leading and trailing ",
    "aaa.aa.a",
]
POOLS = ["abcdefghij ", "ABC xyz \n\t", "0123456789", " ", "  \n\r", "éñü漢字かな", "٣٤٥ⅷ²½①", "😀👩‍❤️", "\u00a0\u3000\u2003\ufeff\u0085\u200b\u2028", "'s't'll'VE", "!?.,;:-_()[]{}«»—", "Σςſİßﬁ", "ะี๑๒हिन्", "a."]


def words(name: str, text: str) -> list[str]:
    made = Tokenizer(models.BPE())
    raw = json.loads(made.to_str())
    raw["pre_tokenizer"] = SPECS[name]
    return [word for word, _ in Tokenizer.from_str(json.dumps(raw)).pre_tokenizer.pre_tokenize_str(text)]


def write(file: str, kind: str, packages: tuple[str, ...], **content) -> None:
    head = {"magic": "foretoken-golden", "version": 1, "kind": kind, "made_by": "python test/vectors/words.py MODEL.gguf"}
    head["packages"] = {name: importlib.metadata.version(name) for name in packages}
    cases = content.pop("cases")
    lines = ",\n".join(json.dumps(each, ensure_ascii=True, separators=(",", ":")) for each in cases)
    (HERE / file).write_text(f'{json.dumps({**head, **content})[:-1]}, "cases": [\n{lines}\n]}}\n')
    print(file, (HERE / file).stat().st_size, "bytes,", len(cases), "cases", file=sys.stderr)


def smollm2(path: str) -> None:
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE({token: id for id, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    kinds = fields["tokenizer.ggml.token_type"].contents()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t, kind in zip(tokens, kinds) if kind == 3])
    cases = [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids} for text in TEXTS]
    write("smollm2-words.json", "smollm2-words", ("tokenizers", "gguf"), cases=cases)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?")
    parser.add_argument("--random", type=int)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.random:
        rng = random.Random(args.seed)
        cases = []
        for _ in range(args.random):
            pools = [rng.choice(POOLS) for _ in range(rng.randint(1, 10))]
            text = "".join("".join(rng.choice(pool) for _ in range(rng.randint(1, 8))) for pool in pools)
            name = rng.choice(list(SPECS))
            cases.append({"name": name, "text": text, "words": words(name, text)})
        json.dump({"specs": SPECS, "cases": cases}, sys.stdout)
        return
    cases = [{"name": name, "text": text, "words": words(name, text)} for name in SPECS for text in TEXTS]
    write("words.json", "words", ("tokenizers",), specs=SPECS, cases=cases)
    if args.model:
        smollm2(args.model)


if __name__ == "__main__":
    main()
