"""Conversations through the chat templates of published models: text and token ids of the reference, `apply_chat_template`.

    python test/vectors/chat.py

Needs: transformers, tokenizers, jinja2. Writes test/vectors/chat.json: a small byte-level BPE with the added tokens of Qwen3
(special and not), and for each template and conversation the text and the ids that transformers makes.
"""

import importlib.metadata
import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).parent
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PLAIN = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]


def user(content: str) -> dict:
    return {"role": "user", "content": content}


def assistant(content: str, **more) -> dict:
    return {"role": "assistant", "content": content, **more}


def system(content: str) -> dict:
    return {"role": "system", "content": content}


def tool(content: str) -> dict:
    return {"role": "tool", "content": content}


CASES = {
    "one": [user("Hi")],
    "system": [system("You answer in one short sentence."), user("Why is the sky blue?")],
    "turns": [user("My name is Ada."), assistant("Hello Ada!"), user("What is my name?")],
    "white space": [system(" be kind \n"), user(" a "), assistant(" b\n"), user("c\n\n")],
    "thinking": [user("2+2?"), assistant("<think>\nlet me see\n</think>\n\n4"), user("and 3+3?")],
    "thinking, last": [user("2+2?"), assistant("<think>\nlet me see\n\n</think>\n\n4\n")],
    "thinking, twice": [user("q"), assistant("<think>a</think>b</think>c"), user("d"), assistant("<think>\n\n</think>\n\nx")],
    "thinking, without end": [user("q"), assistant("<think>a"), user("<think>b</think>")],
    "empty answer": [user("a"), assistant(""), user("b")],
    "empty question": [user("")],
    "other scripts": [user("Grüße 😀 你好 <b>&amp;</b> 'q' \"d\" \\ {{ x }} {% y %}"), assistant("👩‍👩‍👧 ok"), user("ẞß ſ İ ﬁ K")],
    "digits": [user("x² + ½ y = ٣٤٥ ⅷ, 12345 and ๑๒๓ १२३")],
    "lines": [system("a\nb\r\nc\td"), user("\n\n x \n\n"), assistant("\n"), user("y")],
    "tool response": [user("a"), assistant("b"), user("<tool_response>\nx\n</tool_response>")],
    "tools answer": [user("a"), assistant("b"), tool("{\"t\": 3}"), tool("[1, 2]"), assistant("c"), user("d")],
    "two questions": [user("a"), user("b")],
    "long": [user("word " * 200)] + [m for n in range(8) for m in (assistant(f"answer {n}"), user(f"question {n}"))],
}
# Beside the conversation itself.
VALUES = {"one": [{}, {"enable_thinking": False}], "thinking": [{}, {"add_generation_prompt": False}]}


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    text = [m["content"] for each in CASES.values() for m in each] + [Path(__file__).read_text()]
    made.train_from_iterator(text, trainer)
    made.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    made.add_tokens([AddedToken(token, special=False, normalized=False) for token in PLAIN])
    return made


def main() -> None:
    tokens = tokenizer()
    cases = []
    for path in sorted((HERE / "templates").glob("*.jinja")):
        reference = PreTrainedTokenizerFast(
            tokenizer_object=tokens, chat_template=path.read_text(), bos_token="<|im_start|>", eos_token="<|im_end|>"
        )
        for name, messages in CASES.items():
            for values in VALUES.get(name, [{}]):
                options = {"add_generation_prompt": True, **values}
                text = reference.apply_chat_template(messages, tokenize=False, **options)
                ids = reference.apply_chat_template(messages, tokenize=True, return_dict=False, **options)
                cases.append({"template": path.name, "name": name, "messages": messages, "values": values, "text": text, "ids": ids})
    golden = {
        "magic": "foretoken-golden",
        "version": 1,
        "kind": "chat",
        "made_by": "python test/vectors/chat.py",
        "packages": {name: importlib.metadata.version(name) for name in ("transformers", "tokenizers", "jinja2")},
        "tokenizer": json.loads(tokens.to_str()),
    }
    lines = ",\n".join(json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in cases)
    path = HERE / "chat.json"
    path.write_text(f'{json.dumps(golden, ensure_ascii=False, separators=(",", ":"))[:-1]}, "cases": [\n{lines}\n]}}\n')
    print(path.name, path.stat().st_size, "bytes,", len(cases), "cases")


if __name__ == "__main__":
    main()
