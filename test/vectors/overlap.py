"""Finds which texts share a run of words, by train/foretoken_train/overlap.py.

    python test/vectors/overlap.py

Writes test/vectors/overlap.json: the number of words of a run; and pairs of texts, with the number of
runs of each and whether they share one.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "train"))
from foretoken_train.overlap import WORDS, grams  # noqa: E402

BASE = "The quick brown fox jumps over the lazy dog, and then it sleeps until noon; nobody wakes it again."
GERMAN = "für Äpfel gibt es 12 Gründe, die 北京 und Ωmega kennen: je größer, desto süßer"
PAIRS = [
    (BASE, BASE),
    (BASE, "Once: THE QUICK brown fox-jumps over (the) lazy dog and then it sleeps, it said."),
    # 12 words in common, then 13.
    (BASE, "The quick brown fox jumps over the lazy dog and then it woke."),
    (BASE, "The quick brown fox jumps over the lazy dog and then it sleeps."),
    (BASE, "fox jumps over the lazy dog, and then it sleeps until noon."),
    (BASE, "jumps over the lazy dog, and then it sleeps until noon."),
    (BASE, " ".join(reversed(BASE.split()))),
    ("a b c d e f g h i j k l m n", "b a c d e f g h i j k l m n"),
    ("a b c d e f g h i j k l m n", "b c d e f g h i j k l m n"),
    ("x_1 x_2 x_3 x_4 x_5 x_6 x_7 x_8 x_9 y_1 y_2 y_3 y_4", "X_1 x_2 X_3 x_4 x_5 x_6 x_7 x_8 x_9 y_1 y_2 y_3 Y_4!"),
    (GERMAN, "FÜR ÄPFEL GIBT ES 12 GRÜNDE DIE 北京 UND ωMEGA KENNEN JE GRÖSSER"),
    (GERMAN, "Für äpfel gibt es 12 gründe die 北京 und ωmega kennen je größer"),
    ("it's a dog's life isn't it and we're all in it", "it s a dog s life isn t it and we re all in it"),
    ("one two three", "one two three"),
    ("", ""),
]


def pair(a: str, b: str) -> dict:
    first, second = list(grams(a)), list(grams(b))
    return {"a": a, "b": b, "shared": not set(first).isdisjoint(second), "runs": [len(first), len(second)]}


def main() -> None:
    vectors = {"words": WORDS, "pairs": [pair(a, b) for a, b in PAIRS]}
    (HERE / "overlap.json").write_text(json.dumps(vectors, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
