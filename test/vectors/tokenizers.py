"""Tokenizes 400 texts with Hugging Face's `tokenizers` and llama.cpp.

    python test/vectors/tokenizers.py [--gpt2 ggml-vocab-gpt-2.gguf] [--smollm2 SmolLM2-135M-Instruct.Q4_1.gguf]
        [--llama-cpp FOLDER ggml-vocab-gpt-2.gguf ggml-vocab-llama-spm.gguf SmolLM2-135M-Instruct.Q4_1.gguf]

Needs: tokenizers, and gguf for models; node. Writes test/vectors/tokenizers.json: the texts, as
pieces with repetition counts; for each vocabulary one hash per text's ids; for each way in which
llama.cpp splits texts (src/model/pre-tokenizers.ts) one hash for the words of every ten texts.
FOLDER is one in which `npm install node-llama-cpp` has been run. Without an argument, its hashes
are kept.
"""

import argparse
import hashlib
import importlib.metadata
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path = [path for path in sys.path if Path(path or ".").resolve() != HERE]  # this file has the package's name

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers  # noqa: E402

DIGITS = [0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xE50, 0xED0, 0xF20, 0x1040, 0x17E0, 0xFF10, 0x1D7CE]
SCRIPTS = [
    "The quick brown fox, jumps over 13 lazy dogs!", "Grüße aus Köln, Straße", "Привет, как дела?", "Καλημέρα κόσμε", "שלום עולם", "مرحبا بالعالم، كيف حالك؟",
    "नमस्ते दुनिया।", "สวัสดีชาวโลก", "你好，世界。", "こんにちは世界、カタカナ", "안녕하세요 세계", "გამარჯობა მსოფლიო", "Բարեւ աշխարհ", "ሰላም ልዑል", "வணக்கம் உலகம்",
    "བོད་ཡིག", "ខ្មែរ ភាសា", "မြန်မာဘာသာ", "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ", "𐐔𐐯𐑅𐐨𐑉𐐯𐐻", "ᚠᚢᚦᚨᚱᚲ", "Tiếng Việt có dấu", "Čeština žluťoučký kůň", "İstanbul ıĞğŞş",
]
MARKS = ["e\u0301", "a\u0308\u0304", "n\u0303", "क्\u200dष", "\u0e01\u0e33", "o\u0338\u0307", "\u05e9\u05c1\u05b8", "Z\u0351\u0347\u036f", "\u1e69s\u0323\u0307"]
EMOJI = ["😀", "👩‍👩‍👧‍👦", "👍🏽", "🇳🇴🇯🇵", "❤️", "#️⃣", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "🤷🏾‍♀️", "☺", "✌🏿"]
CODE = [
    "def f(a, b):\n    return a[0] + b['k']  # !$%^&*\n", "for (let i = 0; i < n; i++) {\n\t\tx += y[i] ?? 1e-3;\n}\n", "#include <stdio.h>\r\nint main() { return 0x1F; }\r\n",
    "SELECT * FROM t WHERE a <> 'b' -- c\n", "<div class=\"a\">&amp;&nbsp;</div>", "\\frac{a}{b} \\alpha_{1}^{2}", "a->b::c<d>(&e, *f)\n\n\n", "https://example.org/a?b=c&d=%20#e", "    \n\t\n  x\n\n\n\ny ", "{\"k\": [1, -2.5e+10, null]}",
]
ENGLISH = ["we'll", "WE'LL", "they've", "I'M", "don't", "'tis", "it’s", "O'Reilly", "rock'n'roll", "'s't'm", "y'all'd've", "HTTPServer", "camelCaseWords", "snake_case_name", "ALL CAPS", "x²", "1,234.56", "№5", "½", "ⅷ", "①②", "a1b2"]
CONTROLS = ["\0", "\x01\x02", "\x1b[0m", "\x7f", "\x85", "\u00a0", "\u00ad", "\u200b", "\u2028", "\u2029", "\u3000", "\ufeff", "\ufffd", "\ufffe", "\u202e", "\ue000", "\U0010ffff", "\x0b\x0c", "\u180e", "\u2003"]
LONG = ["a", "ab", "aA", "word", " ", "\n", "é", "漢", "😀", "1", "=", "_-", "\u0301", "x9", " \t", "á", "...", "0", "क्ष", "\r\n"]


def texts() -> list[list[list]]:
    """Returns the texts, each a list of [piece, repetitions]."""
    rng = random.Random(2026)
    once = lambda text: [[text, 1]]
    found = [once(text) for pool in (SCRIPTS, MARKS, EMOJI, CODE, ENGLISH, CONTROLS) for text in pool]
    for zero in DIGITS:
        ten = "".join(chr(zero + digit) for digit in range(10))
        found += [once(ten), once(f"a{ten[:1]} {ten[1:3]}, {ten[3:6]}.{ten[6:10]}b {ten}{ten[:2]}")]
    found = [each for at, each in enumerate(found) if each not in found[:at]]
    found += [[[piece, 10_000 // len(piece)]] for piece in LONG]
    found += [[["x", 1], [piece, 300], [" y", 1]] for piece in LONG]
    pools = [SCRIPTS, MARKS, EMOJI, CODE, ENGLISH, CONTROLS, [" ", "  ", "\n", "\n\n", "\t", "\r\n", ""], ["a", "Z", "é", "0", ".", "'", "漢"]]
    while len(found) < 400:
        text = ""
        for _ in range(rng.randint(2, 9)):
            piece = rng.choice(rng.choice(pools))
            start = rng.randint(0, len(piece))
            text += piece if rng.random() < 0.5 else piece[start : start + rng.randint(1, 6)]
        if text and once(text) not in found:
            found.append(once(text))
    return found


def digest(value) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()[:8]


def gguf_tokenizer(path: str, pre) -> Tokenizer:
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    made = Tokenizer(models.BPE({token: id for id, token in enumerate(tokens)}, merges))
    made.pre_tokenizer = pre
    kinds = fields["tokenizer.ggml.token_type"].contents()
    made.add_special_tokens([AddedToken(token, special=True) for token, kind in zip(tokens, kinds) if kind == 3])
    return made


def pre_tokenizer_specs() -> dict:
    """Returns the entries of src/model/pre-tokenizers.ts, by the first name of each."""
    code = (
        "const { preTokenizers } = await import(process.argv[1]); const seen = new Set(); const found = {};"
        "for (const [name, { json }] of preTokenizers) { const text = JSON.stringify(json); if (!seen.has(text)) found[name] = json; seen.add(text) }"
        "console.log(JSON.stringify(found))"
    )
    table = (HERE / "../../src/model/pre-tokenizers.ts").resolve().as_uri()
    made = subprocess.run(["node", "--input-type=module", "-e", code, table], check=True, capture_output=True, text=True)
    return json.loads(made.stdout)


LLAMA_CPP = """
import { createRequire } from 'node:module'
import { readFileSync, writeFileSync } from 'node:fs'
const [, , folder, modelPath, from, to] = process.argv
const { getLlama } = await import(createRequire(folder + '/x.js').resolve('node-llama-cpp'))
const llama = await getLlama({ gpu: false, logLevel: 'error', build: 'never' })
const model = await llama.loadModel({ modelPath, vocabOnly: true })
const texts = JSON.parse(readFileSync(from, 'utf8'))
writeFileSync(to, JSON.stringify(texts.map((text) => [...model.tokenize(text, false)])))
process.exit(0)
"""


def by_llama_cpp(folder: str, model: str, whole: list[str]) -> list[list[int]]:
    with tempfile.TemporaryDirectory() as name:
        script, given, ids = (Path(name) / file for file in ("ids.mjs", "texts.json", "ids.json"))
        script.write_text(LLAMA_CPP)
        given.write_text(json.dumps(whole))
        subprocess.run(["node", script, folder, model, given, ids], check=True)
        return json.loads(ids.read_text())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gpt2")
    parser.add_argument("--smollm2")
    parser.add_argument("--llama-cpp", nargs="+")
    args = parser.parse_args()
    path = HERE / "tokenizers.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    pieces = texts()
    whole = ["".join(piece * times for piece, times in text) for text in pieces]
    hashes = before.get("hashes", {}) if before.get("texts") == pieces else {}

    def keep(name: str, ids: list[list[int]]) -> None:
        hashes[name] = [digest(each) for each in ids]

    encode = lambda made: [made.encode(text, add_special_tokens=False).ids for text in whole]
    small = json.loads((HERE / "chat.json").read_text())["tokenizer"]
    keep("small", encode(Tokenizer.from_str(json.dumps(small))))
    if args.gpt2:
        keep("gpt-2", encode(gguf_tokenizer(args.gpt2, pre_tokenizers.ByteLevel(add_prefix_space=False))))
    if args.smollm2:
        digits = pre_tokenizers.Digits(individual_digits=True)
        cut = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
        keep("smollm2", encode(gguf_tokenizer(args.smollm2, cut)))
    if args.llama_cpp:
        for name, model in zip(("gpt-2", "llama-spm", "smollm2"), args.llama_cpp[1:]):
            ids = by_llama_cpp(args.llama_cpp[0], model, whole)
            keep(f"{name} by llama.cpp", ids)
            other = hashes.get(name)
            for at, each in enumerate(ids):
                if other and digest(each) != other[at]:
                    print(f"{name}: llama.cpp reads {whole[at][:60]!r} as {each[:12]}, tokenizers otherwise")
    words = {}
    for name, spec in pre_tokenizer_specs().items():
        made = Tokenizer(models.BPE())
        raw = json.loads(made.to_str())
        # Oniguruma writes JavaScript's \\u{10400} as \\x{10400}.
        raw["pre_tokenizer"] = json.loads(json.dumps(spec).replace("\\\\u{", "\\\\x{"))
        made = Tokenizer.from_str(json.dumps(raw))
        cut = [[word for word, _ in made.pre_tokenizer.pre_tokenize_str(text)] for text in whole]
        words[name] = [digest(cut[at : at + 10]) for at in range(0, len(cut), 10)]
    golden = {
        "magic": "foretoken-golden",
        "version": 1,
        "kind": "tokenizers",
        "made_by": "python test/vectors/tokenizers.py",
        "packages": {"tokenizers": importlib.metadata.version("tokenizers")},
        "hashes": hashes,
        "words": words,
    }
    lines = ",\n".join(json.dumps(text) for text in pieces)
    path.write_text(f'{json.dumps(golden)[:-1]}, "texts": [\n{lines}\n]}}\n')
    print(path.name, path.stat().st_size, "bytes,", len(pieces), "texts,", len(hashes), "vocabularies,", len(words), "cuts")


if __name__ == "__main__":
    main()
