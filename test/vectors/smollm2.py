"""Writes the golden file of the default model: prompt ids, top tokens and greedy answers of the reference.

    python test/vectors/smollm2.py SmolLM2-135M-Instruct.Q4_1.gguf

Needs: torch, transformers, accelerate, gguf, tokenizers, jinja2. Writes test/vectors/smollm2-135m.json.
"""

import sys
from pathlib import Path

from reference import case, load_gguf, render_chat, sha256, write

STEPS = 32

RAW = {
    "one token": "The",
    "few tokens": "Once upon a time",
    "a list": "The planets of the solar system, in order from the sun, are Mercury,",
    "digits": "1, 2, 4, 8, 16, 32, 64, 128, 256,",
    "code": "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "other scripts": "Bonjour, ça va? 你好，世界！ Привет 😀",
    "one page": " ".join(
        f"On day {day} the keeper of the lighthouse wrote that the wind came from the {wind}, "
        f"that {ships} ships had passed, and that the lamp had burned all night."
        for day, (wind, ships) in enumerate(
            [("north", 3), ("west", 0), ("south", 7), ("east", 12), ("north-west", 1), ("south", 4), ("west", 9), ("north", 2)],
            start=1,
        )
    ),
}

CHAT = {
    "capital": [{"role": "user", "content": "What is the capital of Norway?"}],
    "short": [{"role": "user", "content": "Hi"}],
    "list": [{"role": "user", "content": "Name three primary colours, separated by commas."}],
    "system": [
        {"role": "system", "content": "You answer in one short sentence."},
        {"role": "user", "content": "Why is the sky blue?"},
    ],
    "turns": [
        {"role": "user", "content": "My name is Ada and I have 12 apples."},
        {"role": "assistant", "content": "Hello Ada! That is a lot of apples."},
        {"role": "user", "content": "What is my name?"},
    ],
    "long": [
        {
            "role": "user",
            "content": "Summarise this in one sentence.\n\n"
            + " ".join(
                f"{name} went to the market on {day} and bought {count} {thing}, because the {thing} were cheap that day."
                for name, day, count, thing in [
                    ("Ingrid", "Monday", 4, "pears"),
                    ("Lars", "Tuesday", 10, "eggs"),
                    ("Sofie", "Wednesday", 2, "loaves"),
                    ("Jonas", "Thursday", 7, "lemons"),
                    ("Nora", "Friday", 15, "plums"),
                    ("Emil", "Saturday", 1, "cheeses"),
                ]
            ),
        }
    ],
}


def main() -> None:
    path = Path(sys.argv[1])
    model, tokenizer = load_gguf(path)
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    cases = [case(model, name, encode(text), STEPS, prompt=text) for name, text in RAW.items()]
    for name, messages in CHAT.items():
        cases.append(case(model, f"chat: {name}", encode(render_chat(path, messages)), STEPS, messages=messages))
    for each in cases:
        each["text"] = tokenizer.decode(each["greedy"], skip_special_tokens=False)
        print(each["name"], len(each["ids"]), repr(each["text"]))
    write(
        Path(__file__).parent / "smollm2-135m.json",
        "model",
        "python test/vectors/smollm2.py MODEL.gguf",
        ("torch", "transformers", "gguf", "tokenizers"),
        model={"alias": "smollm2-135m", "sha256": sha256(path)},
        cases=cases,
    )


if __name__ == "__main__":
    main()
