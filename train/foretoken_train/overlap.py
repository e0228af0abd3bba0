"""Copies training texts without the rows that share a run of 13 words with texts that quality is judged
on (GPT-3's test, arXiv 2005.14165, appendix C), and prints how many were left out."""

import argparse
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

WORDS = 13


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder of training texts")
    parser.add_argument("--judged", type=Path, nargs="+", required=True, help="folders of texts to judge on")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the copies")
    options = parser.parse_args()
    judged = {
        gram: path.name
        for folder in options.judged
        for path in sorted(folder.iterdir())
        for row in rows_of(path)
        for gram in grams(row)
    }
    options.out.mkdir(parents=True, exist_ok=True)
    for path in sorted(options.data.iterdir()):
        kept: list[str] = []
        shared: Counter[str] = Counter()
        for row in rows_of(path):
            found = next((judged[gram] for gram in grams(row) if gram in judged), None)
            if found:
                shared[found] += 1
            else:
                kept.append(row)
        write_rows(options.out / path.name, kept)
        print(json.dumps({"file": path.name, "kept": len(kept), "left_out": dict(shared)}))


def rows_of(path: Path) -> Iterator[str]:
    """Yields the JSON texts of JSON lines or of an array, or the paragraphs of a plain text."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        whole = file.read()
    if whole.startswith("["):
        yield from map(json.dumps, json.loads(whole))
    elif ".jsonl" in path.name:
        # Rows may hold other line separators than \n.
        yield from (line for line in whole.split("\n") if line.strip())
    else:
        yield from re.split(r"\n\s*\n", whole)


def write_rows(path: Path, rows: list[str]) -> None:
    """Writes rows as JSON, JSON lines or paragraphs, gzipped if the path says so."""
    array = ".json" in path.name and ".jsonl" not in path.name
    text = f"[{','.join(rows)}]" if array else ("\n" if ".jsonl" in path.name else "\n\n").join(rows)
    with gzip.open(path, "wt", encoding="utf-8") if path.suffix == ".gz" else path.open("w", encoding="utf-8") as file:
        file.write(text)


def grams(row: str) -> Iterator[int]:
    words = re.findall(r"\w+", (_text_of(json.loads(row)) if row.startswith("{\"") else row).lower())
    for at in range(len(words) - WORDS + 1):
        yield hash(tuple(words[at : at + WORDS]))


def _text_of(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(map(_text_of, value.values()))
    if isinstance(value, list):
        return " ".join(map(_text_of, value))
    return str(value)


if __name__ == "__main__":
    main()
