"""Writes prompts for the base model to answer, and joins them with its answers, for `distill --answered`.

Quality is judged along the base's own answers, which differ from those that data sets hold.
"""

import argparse
import json
import random
from pathlib import Path

from .base import Base
from .data import Corpus
from .tokens import Tokens

_ends = (
    "",
    "Explain your answer.",
    "Answer in one or two sentences.",
    "Which text says so?",
    "Say yes or no first, then why.",
    "Give the answer and quote the words that it rests on.",
    "What else does that text say?",
)


def main() -> None:
    options = _options()
    if options.answers:
        _join(options)
    else:
        _ask(options)


def _ask(options: argparse.Namespace) -> None:
    draw = random.Random(options.seed)
    corpus = Corpus(options.data, Tokens(Base(options.base).reader), held_out=False)
    with options.prompts.open("w") as out:
        for number in range(options.count):
            length = draw.choice((options.longest, options.longest // 2, draw.randint(160, options.longest)))
            kind = draw.choices(("documents", "recall"), (0.85, 0.15))[0]
            if kind == "documents":
                prompt = corpus.asked_documents(draw, length, draw.choice(_ends))
            else:
                prompt = corpus.asked_facts(draw, length)
            out.write(json.dumps({"id": str(number), "messages": [{"role": "user", "content": prompt}]}) + "\n")


def _join(options: argparse.Namespace) -> None:
    asked = {row["id"]: row["messages"] for row in map(json.loads, options.prompts.open())}
    answers = [row for row in map(json.loads, options.answers.open()) if row.get("text", "").strip()]
    with options.out.open("w") as out:
        for row in answers:
            messages = [*asked[row["id"]], {"role": "assistant", "content": row["text"].strip()}]
            out.write(json.dumps({"messages": messages}) + "\n")
    print(f"{len(answers)} answers to {len(asked)} prompts")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", type=Path, help="the file of prompts, written without --answers and read with it")
    parser.add_argument("--answers", type=Path, help="what `foretoken batch` wrote for the prompts")
    parser.add_argument("--out", type=Path, help="with --answers: the file for `distill --answered`")
    parser.add_argument("--base", type=Path, help="the base model, GGUF")
    parser.add_argument("--data", type=Path, help="the folder of training texts")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--longest", type=int, default=1000, help="tokens of a prompt")
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    if options.answers and not options.out:
        parser.error("--answers needs --out")
    if not options.answers and not (options.base and options.data):
        parser.error("prompts need --base and --data")
    return options


if __name__ == "__main__":
    main()
