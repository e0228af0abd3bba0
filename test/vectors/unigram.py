"""Makes a tiny random XLM-R as an ONNX export with a Unigram tokenizer of sentencepiece, and the ids and vectors of the
reference.

    python test/vectors/unigram.py

tiny-xlmr-onnx: tokenizer.json is what transformers makes of a sentencepiece model trained here, with the charsmap nmt_nfkc.
    golden.json has the ids of odd texts by `tokenizers`, for this tokenizer and for others of the same charsmap: each
    lists the parts of its tokenizer.json that differ, where {"type": "Precompiled"} stands for the charsmap. cases has
    what sentence-transformers makes of texts.

Needs: torch, transformers, tokenizers, sentencepiece, protobuf, sentence-transformers and onnx.
"""

import io
import json
import random
import shutil
import sys
from pathlib import Path

sys.path.append(sys.path.pop(0))  # tokenizers.py beside this file has the name of a package

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import sentencepiece  # noqa: E402
import torch  # noqa: E402
from reference import sha256, write  # noqa: E402
from sentence_files import dump, modules  # noqa: E402
from sentence_transformers import SentenceTransformer  # noqa: E402
from sentencepiece import sentencepiece_model_pb2  # noqa: E402
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers  # noqa: E402
from transformers import XLMRobertaConfig, XLMRobertaModel, XLMRobertaTokenizer  # noqa: E402
from transformers.convert_slow_tokenizer import SpmConverter  # noqa: E402

HERE = Path(__file__).parent
NAME = "tiny-xlmr-onnx"
WIDTH = 32
LONGEST = 96
TEXTS = [
    "the cat sat on the mat and then",
    "Der Fluß fließt durch die alte Stadt, und die Leute gehen über die Brücke.",
    "река течёт через старый город",
    "  東京は日本の首都です。 ｆｕｌｌ ｗｉｄｔｈ ﬁne",
    "한국어 문장입니다",
]
SENTENCES = """the cat sat on the mat and then it went to sleep in the warm sun
in the town where I was born there lived a man who sailed to sea
a river runs through the old city and people walk over the bridge
she read the book twice before she gave it back to the library
we know that one and one are two, but what are two and two?
der Fluß fließt durch die alte Stadt und die Leute gehen über die Brücke
die Katze saß auf der Matte und schlief dann in der warmen Sonne ein
wir wissen nicht, ob es morgen regnen wird oder ob die Sonne scheint
le chat était assis sur le tapis et dormait à côté de la fenêtre
la rivière traverse la vieille ville où les gens passent sur le pont
el río pasa por la ciudad vieja y la gente cruza el puente cada mañana
река течёт через старый город, и люди ходят по мосту каждый день
кот сидел на ковре и спал на тёплом солнце
ο ποταμός περνά από την παλιά πόλη και οι άνθρωποι περπατούν
النهر يمر عبر المدينة القديمة والناس يمشون على الجسر
नदी पुराने शहर से होकर बहती है और लोग पुल पर चलते हैं
แม่น้ำไหลผ่านเมืองเก่าและผู้คนเดินข้ามสะพาน
川は古い町を流れ、人々は橋を渡ります。猫は座っていました。
東京は日本の首都です。京都は古い都でした。
河流穿过古老的城市，人们走过桥。猫坐在垫子上。
강은 오래된 도시를 지나 흐르고 사람들은 다리를 건넙니다
고양이는 매트 위에 앉아 있었습니다"""


def trained(byte_fallback: bool, size: int):
    """Returns the sentencepiece model of words drawn from the sentences."""
    random.seed(5)
    sentences = SENTENCES.split("\n")
    drawn = [" ".join(random.sample(words, len(words))) for words in map(str.split, sentences * 12)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences * 4 + drawn),
        model_writer=model,
        vocab_size=size,
        model_type="unigram",
        normalization_rule_name="nmt_nfkc",
        byte_fallback=byte_fallback,
        character_coverage=0.985,
        num_threads=1,
        minloglevel=2,
    )
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model.getvalue())
    return proto


def pieces(proto) -> list[tuple[str, float]]:
    return [(piece.piece, piece.score) for piece in proto.pieces]


def xlmr() -> tuple[XLMRobertaTokenizer, bytes]:
    proto = trained(False, 380)
    vocab = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *pieces(proto)[3:], ("<mask>", 0.0)]
    charsmap = proto.normalizer_spec.precompiled_charsmap
    return XLMRobertaTokenizer(vocab=vocab, _spm_precompiled_charsmap=charsmap, model_max_length=128), charsmap


def others(charsmap: bytes) -> list[tuple[str, Tokenizer]]:
    """Returns tokenizers with other steps and with byte fallback."""
    table = normalizers.Precompiled(charsmap)
    proto = trained(True, 600)
    spaces = normalizers.Replace(Regex(" {2,}"), "▁")
    # The conversion of transformers for any model of sentencepiece.
    converted = SpmConverter.build_tokenizer_from_spm_proto(proto, pieces(proto))
    stripped = Tokenizer.from_str(converted.to_str())
    # The conversion of earlier versions, as in many published files.
    stripped.normalizer = normalizers.Sequence([table, normalizers.Strip(left=False, right=True), spaces])
    stripped.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    folded = Tokenizer.from_str(converted.to_str())
    folded.normalizer = normalizers.Sequence(
        [normalizers.Replace("``", '"'), normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), table]
    )
    folded.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    old = Tokenizer.from_str(converted.to_str())
    old.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.Strip(), normalizers.NFKC()])
    old.pre_tokenizer = pre_tokenizers.Metaspace()
    return [("converted", converted), ("stripped", stripped), ("folded", folded), ("old", old)]


def changes(made: Tokenizer, base: dict, seen: list) -> dict:
    """Returns the parts of a tokenizer.json that differ, without the charsmap, and a model that was seen as its index."""
    parts = {}
    for key, value in json.loads(made.to_str()).items():
        if key in ("normalizer", "pre_tokenizer", "model", "added_tokens") and value != base[key]:
            parts[key] = value
    for step in [parts.get("normalizer", {}), *parts.get("normalizer", {}).get("normalizers", [])]:
        step.pop("precompiled_charsmap", None)
    model = parts.pop("model")
    if model not in seen:
        seen.append(model)
    return {**parts, "model": seen.index(model)}


def odd_texts() -> list[str]:
    """Texts of characters that a normaliser or a splitter treats apart, in fixed random order."""
    random.seed(1)
    ranges = [
        (0x20, 0x250), (0x300, 0x345), (0x370, 0x400), (0x400, 0x460), (0x590, 0x5F0), (0x600, 0x660), (0x6D5, 0x710),
        (0x900, 0x980), (0xE01, 0xE5C), (0x1100, 0x1120), (0x1160, 0x1180), (0x11A8, 0x11B8), (0x1E00, 0x1F00),
        (0x2000, 0x2070), (0x2100, 0x2140), (0x2460, 0x2480), (0x2580, 0x2583), (0x3000, 0x3100), (0x3297, 0x32A0),
        (0x4E00, 0x4E40), (0xAC00, 0xAC20), (0xF900, 0xF920), (0xFB00, 0xFB07), (0xFDF0, 0xFDFE), (0xFE0E, 0xFE10),
        (0xFE50, 0xFE70), (0xFEFF, 0xFFE7), (0xFFFC, 0xFFFE), (0x1D400, 0x1D420), (0x1F1E6, 0x1F1EC), (0x1F3FB, 0x1F400),
        (0x1F466, 0x1F46A), (0x2F800, 0x2F804), (0xE0020, 0xE0024), (0, 0x20), (0x7F, 0xA1),
    ]  # fmt: skip
    letters = [chr(code) for first, end in ranges for code in range(first, end)]
    texts = ["".join(random.choice(letters) for _ in range(14)) for _ in range(130)]
    # Short clusters: a character that the charsmap has, or not, and what may extend it.
    firsts = "aeＡªﬁ½™ⓂΩقक़ड़नกำ한ᄒ©Ⓜ㊗\n\u00ad\u0600\u0301\U0001f1ea"
    marks = "\u0301\u0308\u0345\u0903\u094d\u0e33\u200c\u200d\ufe0f\u1161\u11a8\u0600\U0001f3fd\U00011133\U000e0020"
    texts += [
        "".join(random.choice(firsts if random.random() < 0.5 else marks) for _ in range(10)) for _ in range(60)
    ]
    words = SENTENCES.split()
    texts += [" ".join(random.sample(words, 6)) for _ in range(20)]
    texts += [
        "", " ", "  ", "\t\n", "\0", "a\0b", "\u2581", "▁▁a ▁b", "a  b   c", " leading and trailing  ", "\u00a0a\u3000b\u2003",
        "a\u0085b\u0085", "\ufeffa\ufeff", "x" * 3000, "がか\u3099ﾊﾟﾞ", "e\u0301e\u0301\u0323", "Å\u212b\u0041\u030a", "ﷺ", "ﬃ ﬅ Ⅷ ㎏ ㋾",
        "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪🇫🇷🇯", "\r\n\r\n", "a\r\nb", "กำ ก็ น้ำ", "क्षि क्\u200dष क़", "\u1112\u1161\u11ab 한 글\u11a8", "النّهر ﻻ",
        "<0x41> <0xFF>", "<unk", "s> <pa", "``quoted''", "ΟΔΟΣ İ ß ẞ", "\u00e5\u0301" * 40, "the" * 60, "猫" * 50 + "鼠" * 3,
        "\u0301\u0302 \n\u0301\u0302", "☃☃ ☃a☃ ☃☃☃", "\U0010ffff\ue000\ufdd0",
    ]  # fmt: skip
    return texts


class States(torch.nn.Module):
    def __init__(self, model: XLMRobertaModel):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def export(model: XLMRobertaModel, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    names = ["input_ids", "attention_mask"]
    torch.onnx.export(
        States(model).eval(),
        (torch.tensor([[0, 5, 2]]), torch.ones(1, 3, dtype=torch.long)),
        str(path),
        input_names=names,
        output_names=["last_hidden_state"],
        dynamic_axes={name: {0: "batch", 1: "tokens"} for name in [*names, "last_hidden_state"]},
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
    tokenizer, charsmap = xlmr()
    tokenizer.save_pretrained(folder)
    made = tokenizer.backend_tokenizer
    base = json.loads(made.to_str())
    (folder / "tokenizer.json").write_text(json.dumps(base, ensure_ascii=False, separators=(",", ":")))
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=130,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    torch.manual_seed(3)
    model = XLMRobertaModel(config, add_pooling_layer=False).float().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    modules(folder, WIDTH, LONGEST)
    reference = SentenceTransformer(str(folder), model_kwargs={"attn_implementation": "eager"})
    assert reference.max_seq_length == LONGEST
    assert reference.tokenizer(TEXTS[1])["input_ids"] == made.encode(TEXTS[1]).ids
    cases = []
    for mode, pooling in (("mean", "mean"), ("cls", "cls")):
        reference[1].pooling_mode = mode
        cases.append({"name": pooling, "texts": TEXTS, "vectors": vectors(reference.encode(TEXTS))})
    # The export has the weights.
    (folder / "model.safetensors").unlink()
    export(model, folder / "onnx" / "model.onnx")
    texts = odd_texts()
    models: list = []
    variants = [
        {
            "name": name,
            "changes": changes(other, base, models),
            "ids": [other.encode(text, add_special_tokens=False).ids for text in texts],
        }
        for name, other in others(charsmap)
    ]
    write(
        folder / "golden.json",
        "unigram",
        "python test/vectors/unigram.py",
        ("torch", "transformers", "tokenizers", "sentencepiece", "sentence-transformers", "onnx"),
        model={"files": {"model.onnx": sha256(folder / "onnx" / "model.onnx")}},
        cases=cases,
        models=models,
        texts=texts,
        ids=[made.encode(text, add_special_tokens=False).ids for text in texts],
        variants=variants,
    )


main()
