"""Renders conversations with the chat templates of published models by the reference, `apply_chat_template`.

    python test/vectors/chat.py [--published FOLDER]

Needs: transformers, tokenizers, jinja2. Writes test/vectors/chat.json: a small byte-level BPE with
the special tokens of the families and the added tokens of Qwen3 that are not special; the
conversations; and for each template and conversation the text that transformers renders and a hash
of its ids, or the message with which the template refuses.

The small BPE replaces the vocabularies of the models, because of their licences and sizes. The
comparison covers where special tokens are found, and that the rest is encoded piece by piece.

Two things differ from transformers on purpose:
- The text of a special token in user text is plain text. Such texts are replaced by private
  characters while the template runs.
- Content in parts, or null, is passed to the template unchanged. If it fails, or prints Python's
  form of the list, it gets the parts as lines of one text, or an empty text.

FOLDER holds templates that are not in the repository, from vendor/llama.cpp/models/templates in the
source archive of llama-cpp-python (PyPI): ours for these models must render the same texts.
"""

import argparse
import hashlib
import importlib.metadata
import json
import re
import sys
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).parent
sys.path = [path for path in sys.path if Path(path or ".").resolve() != HERE]  # tokenizers.py has a package's name

from jinja2.exceptions import TemplateError  # noqa: E402
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402
from transformers import PreTrainedTokenizerFast  # noqa: E402
from transformers.utils import chat_template_utils  # noqa: E402

PLAIN = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]
# The first and last token of a text, and the other special tokens.
FAMILIES = {
    "qwen2.5": ("<|endoftext|>", "<|im_end|>"),
    "qwen3": ("<|endoftext|>", "<|im_end|>"),
    "smollm2": ("<|im_start|>", "<|im_end|>"),
    "smollm3": ("<|im_start|>", "<|im_end|>"),
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "mistral-v3": ("<s>", "</s>"),
    "mistral-v7": ("<s>", "</s>"),
    "granite3.3": ("<|end_of_text|>", "<|end_of_text|>"),
    "deepseek-r1-distill": ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    "phi-4": ("<|endoftext|>", "<|im_end|>"),
    "llama3.2": ("<|begin_of_text|>", "<|eot_id|>"),
    "gemma2": ("<bos>", "<end_of_turn>"),
    "gemma3": ("<bos>", "<end_of_turn>"),
}
SPECIAL = list(
    dict.fromkeys(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>"]
        + [token for pair in FAMILIES.values() for token in pair]
        + ["<start_of_turn>", "<|start_header_id|>", "<|end_header_id|>", "<|start_of_role|>", "<|end_of_role|>"]
        + ["[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"]
        + ["<｜User｜>", "<｜Assistant｜>", "<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>"]
        + ["<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"]
    )
)
PUBLISHED = {
    "llama3.2": "meta-llama-Llama-3.2-3B-Instruct",
    "gemma2": "google-gemma-2-2b-it",
    "gemma3": "google-gemma-3-4b-it",
    "phi-4": "microsoft-phi-4",
}


def user(content, **more) -> dict:
    return {"role": "user", "content": content, **more}


def assistant(content, **more) -> dict:
    return {"role": "assistant", "content": content, **more}


def system(content) -> dict:
    return {"role": "system", "content": content}


def tool(content: str, **more) -> dict:
    return {"role": "tool", "content": content, **more}


def part(text: str) -> dict:
    return {"type": "text", "text": text}


CASES = {
    "one": [user("Hi")],
    "system": [system("You answer in one short sentence."), user("Why is the sky blue?")],
    "turns": [user("My name is Ada."), assistant("Hello Ada!"), user("What is my name?")],
    "white space": [system(" be kind \n"), user(" a "), assistant(" b\n"), user("c\n\n")],
    "thinking": [user("2+2?"), assistant("<think>\nlet me see\n</think>\n\n4"), user("and 3+3?")],
    "thinking, last": [user("2+2?"), assistant("<think>\nlet me see\n\n</think>\n\n4\n")],
    "thinking, twice": [user("q"), assistant("<think>a</think>b</think>c"), user("d"), assistant("<think>\n\n</think>\n\nx")],
    "thinking, without end": [user("q"), assistant("<think>a"), user("<think>b</think>")],
    "thinking apart": [user("2+2?"), assistant("4", reasoning_content="let me see"), user("and 3+3?")],
    "empty answer": [user("a"), assistant(""), user("b")],
    "empty question": [user("")],
    "other scripts": [user("Grüße 😀 你好 <b>&amp;</b> 'q' \"d\" \\ {{ x }} {% y %}"), assistant("👩‍👩‍👧 ok"), user("ẞß ſ İ ﬁ K")],
    "digits": [user("x² + ½ y = ٣٤٥ ⅷ, 12345 and ๑๒๓ १२३")],
    "lines": [system("a\nb\r\nc\td"), user("\n\n x \n\n"), assistant("\n"), user("y")],
    "tool response": [user("a"), assistant("b"), user("<tool_response>\nx\n</tool_response>")],
    "tools answer": [user("a"), assistant("b"), tool("{\"t\": 3}"), tool("[1, 2]"), assistant("c"), user("d")],
    "a tool answers": [user("a"), assistant("b"), tool("3 °C", tool_call_id="abcdefgh1"), assistant("c"), user("d")],
    "two questions": [user("a"), user("b")],
    "an answer first": [assistant("a"), user("b")],
    "system last": [user("a"), assistant("b"), system("c")],
    "names": [user("Hi", name="Ada"), assistant("Hello", name="bot"), user("Bye", name="<|im_end|>")],
    "special tokens": [
        system("<|im_end|><|eot_id|>"),
        user("a" + "".join(SPECIAL) + "b"),
        assistant(" <end_of_turn>\n<｜User｜> "),
        user("[/INST]<|im_start|>"),
    ],
    "parts": [system([part("Be kind.")]), user([part("What is "), part("this?")]), assistant([part("It.")]), user([part(" x ")])],
    "parts and texts": [user([part("a")]), assistant("b"), user([part("<|im_end|>"), part("c")])],
    "no parts": [user([])],
    "no answer": [user("a"), assistant(None), user("b")],
    "begun": [user("Count."), assistant("1, 2,")],
    "begun, space": [user("Count."), assistant("1, 2, ")],
    "begun, nothing": [user("Count."), assistant("")],
    "begun, thinking": [user("Count."), assistant("<think>\nI count:")],
    "begun, parts": [user("Count."), assistant([part("1,"), part("2,")])],
    "begun, special": [user("Count."), assistant("1<|im_end|>2")],
    "long": [user("word " * 200)] + [m for n in range(8) for m in (assistant(f"answer {n}"), user(f"question {n}"))],
}
# Options besides the conversation. `continue_final_message` leaves the last answer open.
BEGUN = [{"continue_final_message": True}]
VALUES = {
    "one": [{}, {"enable_thinking": False}],
    "thinking": [{}, {"add_generation_prompt": False}],
    **{name: BEGUN for name in CASES if name.startswith("begun")},
}
TODAY = "2026-01-02"


class Clock(datetime):
    """Fixes the date, which templates may write."""

    @classmethod
    def now(cls, zone=None):
        return datetime.fromisoformat(f"{TODAY}T12:00:00")


chat_template_utils.datetime = Clock


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    text = [m["content"] for each in CASES.values() for m in each if isinstance(m["content"], str)]
    made.train_from_iterator(text + [__doc__], trainer)
    made.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    made.add_tokens([AddedToken(token, special=False, normalized=False) for token in PLAIN])
    return made


FIND = re.compile("|".join(re.escape(token) for token in sorted(SPECIAL, key=len, reverse=True)))
LETTERS = sorted({letter for token in SPECIAL for letter in token})
GUARD = {letter: chr(0xF0000 + at) for at, letter in enumerate(LETTERS)}
BACK = str.maketrans({guard: letter for letter, guard in GUARD.items()})


def guarded(value, key: str = ""):
    """Returns user text with private characters for the text of special tokens."""
    if isinstance(value, str):
        hide = lambda found: "".join(GUARD[letter] for letter in found.group())
        return value if key in ("role", "type") else FIND.sub(hide, value)
    if isinstance(value, list):
        return [guarded(item) for item in value]
    return {guarded(name): guarded(item, name) for name, item in value.items()} if isinstance(value, dict) else value


def ids_of(made: Tokenizer, text: str) -> list[int]:
    """Encodes special tokens where the template wrote them, and everything between as plain text."""
    ids, done = [], 0
    plain = lambda piece: made.encode(piece.translate(BACK), add_special_tokens=False).ids
    made.encode_special_tokens = True
    for found in FIND.finditer(text):
        ids += plain(text[done : found.start()]) + [made.token_to_id(found.group())]
        done = found.end()
    ids += plain(text[done:])
    made.encode_special_tokens = False
    return ids


def as_texts(messages: list[dict]) -> list[dict]:
    def text(content):
        if isinstance(content, list):
            return "\n".join(each["text"] for each in content)
        return "" if content is None else content

    return [{**message, "content": text(message["content"])} for message in messages]


def render(reference, messages: list[dict], values: dict) -> str:
    options = {"add_generation_prompt": not values.get("continue_final_message"), **values}

    def make(each: list[dict]) -> str:
        if all(message["content"] is not None for message in each):
            return reference.apply_chat_template(each, tokenize=False, **options)
        # transformers drops null content, although its templates, and other servers, expect it.
        names = {"bos_token": reference.bos_token, "eos_token": reference.eos_token, **options}
        return chat_template_utils._compile_jinja_template(reference.chat_template).render(messages=each, **names)

    if as_texts(messages) == messages:
        return make(messages)
    try:
        text = make(messages)
        parts = [each["text"].strip() for m in messages if isinstance(m["content"], list) for each in m["content"]]
        if not re.search("None|[\"']text[\"']|\\[\\]", text) and all(each in text for each in parts):
            return text
    except Exception:
        pass
    return make(as_texts(messages))


def case(reference, made: Tokenizer, messages: list[dict], values: dict) -> dict:
    try:
        text = render(reference, guarded(messages), guarded(values))
    except TemplateError as error:
        return {"refused": error.message}
    except ValueError as error:
        return {"refused": "" if "continue_final_message" in str(error) else str(error)}
    ids = ids_of(made, text)
    plain = text.translate(BACK)
    if plain == text and ids != made.encode(text, add_special_tokens=False).ids:
        raise AssertionError("special tokens are not found as tokenizers finds them")
    return {"text": plain, "ids": hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()[:8]}


def compare(folder: Path, made: Tokenizer) -> None:
    for name, published in PUBLISHED.items():
        for conversation, messages in CASES.items():
            for values in VALUES.get(conversation, [{}]):
                both = []
                for path in (HERE / "templates" / f"{name}.jinja", folder / f"{published}.jinja"):
                    bos, eos = FAMILIES[name]
                    reference = PreTrainedTokenizerFast(
                        tokenizer_object=made, chat_template=path.read_text(), bos_token=bos, eos_token=eos
                    )
                    both.append(case(reference, made, messages, values))
                if both[0] != both[1]:
                    raise AssertionError(f"{name}, {conversation}: ours {both[0]}, published {both[1]}")
        print(name, "makes the texts of", published)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--published", type=Path)
    published = parser.parse_args().published
    made = tokenizer()
    if published:
        compare(published, made)
    cases = []
    for path in sorted((HERE / "templates").glob("*.jinja")):
        bos, eos = FAMILIES[path.stem]
        reference = PreTrainedTokenizerFast(
            tokenizer_object=made, chat_template=path.read_text(), bos_token=bos, eos_token=eos
        )
        for name, messages in CASES.items():
            for values in VALUES.get(name, [{}]):
                result = case(reference, made, messages, values)
                cases.append({"template": path.name, "name": name, **({"values": values} if values else {}), **result})
    golden = {
        "magic": "foretoken-golden",
        "version": 1,
        "kind": "chat",
        "made_by": "python test/vectors/chat.py",
        "packages": {name: importlib.metadata.version(name) for name in ("transformers", "tokenizers", "jinja2")},
        "today": TODAY,
        "families": {f"{name}.jinja": pair for name, pair in FAMILIES.items()},
        "conversations": CASES,
        "tokenizer": json.loads(made.to_str()),
    }
    lines = ",\n".join(json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in cases)
    path = HERE / "chat.json"
    path.write_text(f'{json.dumps(golden, ensure_ascii=False, separators=(",", ":"))[:-1]}, "cases": [\n{lines}\n]}}\n')
    print(path.name, path.stat().st_size, "bytes,", len(cases), "cases,", sum("refused" in each for each in cases), "refused")


if __name__ == "__main__":
    main()
