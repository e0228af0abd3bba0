"""Which rows of the training texts share a run of 13 words with texts that quality is judged on (GPT-3's test, arXiv 2005.14165, appendix C)."""

import argparse
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

WORDS = 13


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of training texts")
    parser.add_argument("--eval", type=Path, nargs="+", required=True, help="folders of texts to judge on")
    options = parser.parse_args()
    judged: dict[int, str] = {}
    for folder in options.eval:
        for path in sorted(folder.iterdir()):
            for text in texts(path):
                for gram in grams(text):
                    judged[gram] = path.name
    for path in sorted(options.data.iterdir()):
        rows, shared = 0, 0
        sets: dict[str, int] = {}
        for text in texts(path):
            rows += 1
            found = next((judged[gram] for gram in grams(text) if gram in judged), None)
            if found:
                shared += 1
                sets[found] = sets.get(found, 0) + 1
        print(json.dumps({"file": path.name, "rows": rows, "shared": shared, "with": sets}))


def texts(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        for line in file.read().split("\n"):
            yield line


def grams(text: str) -> Iterator[int]:
    words = re.findall(r"\w+", text.lower())
    for at in range(len(words) - WORDS + 1):
        yield hash(tuple(words[at : at + WORDS]))


if __name__ == "__main__":
    main()
