"""Texts to train on, as token ids drawn by a seed: running text, chats, questions about a passage, and
facts to recall."""

import gzip
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .tokens import Tokens


@dataclass(frozen=True)
class Document:
    kind: str
    ids: list[int]
    answers: list[int] = field(default_factory=list)
    """Positions where answers begin."""


class Corpus:
    """The files of one folder, split into rows to train on and held-out rows, every twentieth one."""

    def __init__(self, folder: Path, tokens: Tokens, held_out: bool, extra: list[Path] = [], answered: list[Path] = []):
        rows = {name: _split(_rows(path), held_out) for name, path in _files(folder).items()}
        self.tokens = tokens
        self.texts = [row["text"] for name in ("openstax", "c4_demo") for row in rows[name]]
        self.texts += _split(_paragraphs(folder / "tinyshakespeare.txt.gz"), held_out)
        self.chats: dict[str, list[list[dict[str, str]]]] = {
            "t0": [_asked(row["prompt"], row["completion"]) for row in rows["t0_permissive"]],
            "gsm8k": [_asked(row["question"], row["answer"]) for row in rows["gsm8k_train"]],
            "dolly": [_asked(_bare(row["prompt"]), row["response"]) for row in rows["dolly_hhrlhf_small"]],
            "rasbt": [_asked(f"{row['instruction']}\n\n{row['input']}".strip(), row["output"]) for row in rows["rasbt_instruction_data"]],
            "sgd": [_turns([text for _, text in row["turns"]]) for row in rows["sgd_dialogues"]],
        }
        self.passages = [split for row in rows["t0_permissive"] if (split := _passage_apart(row))]
        # Answers that the base model itself gave to such prompts.
        sampled = [row for path in extra for row in _split(_rows(path), held_out)]
        if sampled:
            self.chats["sampled"] = [row["messages"] for row in sampled]
        # Whole prompts that the base answered (prompts.py).
        self.answered = [row["messages"] for path in answered for row in _split(_rows(path), held_out)]

    def documents(self, seed: int, longest: int) -> Iterator[Document]:
        """Yields documents without end. A quarter is running text; the others end with a question and its answer."""
        draw = random.Random(seed)
        shares = {"text": 0.25, "chat": 0.15, "passage": 0.15, "documents": 0.25, "recall": 0.2}
        if self.answered:
            shares = {"text": 0.2, "chat": 0.05, "passage": 0.05, "documents": 0.1, "recall": 0.3, "answered": 0.3}
        while True:
            length = draw.choice((longest, longest, longest // 2, draw.randint(160, longest)))
            kind = draw.choices(list(shares), list(shares.values()))[0]
            document = getattr(self, f"_{kind}")(draw, length)
            if len(document.ids) >= 120:
                yield document

    def _text(self, draw: random.Random, length: int) -> Document:
        return Document("text", self._filler(draw, length))

    def _filler(self, draw: random.Random, length: int) -> list[int]:
        ids: list[int] = []
        # Many texts were split into words for older models; prediction is worst on them.
        split = draw.random() < 0.3
        while len(ids) < length:
            text = draw.choice(self.texts)
            # Tokenizing a whole chapter for a page of it would take longer than training on it.
            size = (length - len(ids)) * 8
            start = draw.randrange(max(1, len(text) - size // 2))
            start = text.find(" ", start) if start else 0
            piece = text[max(0, start) : start + size].strip()
            ids += self.tokens.ids(split_apart(piece, draw) if split else piece)[: length - len(ids)]
        return ids

    def _chat(self, draw: random.Random, length: int) -> Document:
        """Joins chats one after the other, as in one long conversation."""
        messages: list[dict[str, str]] = []
        rows = self.chats[draw.choice(list(self.chats))]
        ids: list[int] = []
        answers: list[int] = []
        while len(ids) < length:
            messages += draw.choice(rows)
            ids, answers = self._framed(messages)
            if len(messages) > 60:
                break
        return Document("chat", ids[:length], [at for at in answers if at < length - 8])

    def _passage(self, draw: random.Random, length: int) -> Document:
        """Makes a question about a passage, with other text before or after the passage."""
        rows = self.chats[draw.choice(("t0", "t0", "t0", "sampled", "dolly") if "sampled" in self.chats else ("t0", "t0", "dolly"))]
        asked, answer = draw.choice(rows)[:2]
        room = length - len(self.tokens.ids(asked["content"] + answer["content"])) - 60
        filler = self.tokens.tokenizer.decode(self._filler(draw, max(1, room)))
        content = f"{asked['content']}\n\n{filler}" if draw.random() < 0.3 else f"{filler}\n\n{asked['content']}"
        if content.startswith(asked["content"]):
            content += "\n\nNow answer what was asked at the start."
        ids, answers = self._framed([{"role": "user", "content": content}, answer])
        return Document("passage", ids[: length + 64], [at for at in answers if at < length])

    def _answered(self, draw: random.Random, length: int) -> Document:
        ids, answers = self._framed(draw.choice(self.answered))
        return Document("answered", ids, answers)

    def _documents(self, draw: random.Random, length: int) -> Document:
        """Makes a question about one of several documents, which stands at the front, in the middle or at the end."""
        passage, question, answer = draw.choice(self.passages)
        body = self._among_others(draw, length, passage, question)
        if draw.random() < 0.8:
            messages = [{"role": "user", "content": f"{body}\n\n{question}"}, {"role": "assistant", "content": answer}]
            ids, answers = self._framed(messages)
            return Document("documents", ids, answers)
        head = self.tokens.ids(f"{body}\n\n{question}\nAnswer:")
        return Document("documents", head + self.tokens.ids(f" {answer}\n"), [len(head)])

    def asked_documents(self, draw: random.Random, length: int, end: str) -> str:
        """Returns a prompt of about `length` tokens: documents, a question about one of them, and `end`."""
        passage, question, _ = draw.choice(self.passages)
        question = f"{question} {end}".strip()
        return f"{self._among_others(draw, length, passage, question)}\n\n{question}"

    def asked_facts(self, draw: random.Random, length: int) -> str:
        """Returns a prompt of about `length` tokens: facts among text, and a question about one of them."""
        style = draw.choice(_facts)
        names = draw.sample(style.keys, draw.randint(2, 8))
        facts = " ".join(style.fact.format(key=name, value=style.value(draw)) for name in names)
        filler = self.tokens.tokenizer.decode(self._filler(draw, max(20, length - len(self.tokens.ids(facts)) - 60)))
        body = f"{facts}\n\n{filler}" if draw.random() < 0.5 else f"{filler}\n\n{facts}"
        return f"{body}\n\n{style.question.format(key=draw.choice(names))}"

    def _among_others(self, draw: random.Random, length: int, passage: str, question: str) -> str:
        """Returns `passage` among other documents, which leave room for `question`."""
        frame = draw.choice(_frames)
        room = length - len(self.tokens.ids(passage + question)) - 60
        others: list[str] = []
        while room > 40:
            other = self._document(draw, min(room, draw.randint(60, 400)))
            room -= len(self.tokens.ids(other)) + 6
            others.append(other)
        others.insert(draw.choice((0, len(others) // 2, len(others), draw.randint(0, len(others)))), passage)
        return "\n\n".join(frame.format(number=number, text=text) for number, text in enumerate(others, 1))

    def _document(self, draw: random.Random, tokens: int) -> str:
        """Returns a passage that another question was about, or a piece of text, of at most `tokens` tokens."""
        text = draw.choice(self.passages)[0] if draw.random() < 0.6 else ""
        ids = self.tokens.ids(text) or self._filler(draw, tokens)
        return self.tokens.tokenizer.decode(ids[:tokens]).strip()

    def _recall(self, draw: random.Random, length: int) -> Document:
        """Makes facts and text, then questions about one or two of the facts."""
        style = draw.choice(_facts)
        names = draw.sample(style.keys, draw.randint(2, 8))
        values = [style.value(draw) for _ in names]
        facts = [style.fact.format(key=name, value=value) for name, value in zip(names, values)]
        end = length - sum(len(self.tokens.ids(fact)) for fact in facts) - 100
        pieces = [self.tokens.tokenizer.decode(self._filler(draw, max(20, end // 2))) for _ in range(2)]
        where = draw.choice(("front", "front", "middle", "apart"))
        if where == "apart":
            pieces = [f"{pieces[0]} {' '.join(facts[::2])}", f"{pieces[1]} {' '.join(facts[1::2])}"]
        elif where == "middle":
            pieces.insert(1, " ".join(facts))
        else:
            pieces.insert(0, " ".join(facts))
        asked = draw.sample(range(len(names)), 2)
        body = "\n\n".join(pieces)
        if draw.random() < 0.5:
            answer = lambda at: {"role": "assistant", "content": style.answer.format(key=names[at], value=values[at])}
            question = lambda at: style.question.format(key=names[at])
            messages = [{"role": "user", "content": f"{body}\n\n{question(asked[0])}"}, answer(asked[0])]
            messages += [{"role": "user", "content": question(asked[1])}, answer(asked[1])]
            ids, answers = self._framed(messages)
            return Document("recall", ids, answers)
        head = self.tokens.ids(f"{body}\n\n")
        tail = [self.tokens.ids(style.answer.format(key=names[at], value=values[at]) + "\n") for at in asked]
        return Document("recall", head + tail[0] + tail[1], [len(head), len(head) + len(tail[0])])

    def _framed(self, messages: list[dict[str, str]]) -> tuple[list[int], list[int]]:
        """Returns the ids of a conversation, and where its answers begin."""
        text = self.tokens.chat(messages)
        mark = "<|im_start|>assistant\n"
        encoding = self.tokens.tokenizer.encode(text, add_special_tokens=False)
        starts, at = [], text.find(mark)
        while at >= 0:
            starts.append(at + len(mark))
            at = text.find(mark, at + 1)
        answers = []
        begins = [begin for begin, _ in encoding.offsets]
        for start in starts:
            answers.append(next((index for index, begin in enumerate(begins) if begin >= start), len(begins)))
        return encoding.ids, answers


@dataclass(frozen=True)
class _Facts:
    fact: str
    question: str
    answer: str
    keys: list[str]
    digits: int

    def value(self, draw: random.Random) -> str:
        if self.digits:
            return str(draw.randrange(10 ** (self.digits - 1), 10**self.digits))
        return draw.choice(_words) + " " + draw.choice(_words)


_words = (
    "amber anchor apple arrow autumn basket beacon birch blanket breeze bridge candle canyon cedar cherry clover coral cotton "
    "crystal desert dragon ember falcon feather forest garden ginger glacier harbor hazel honey island ivory jasmine juniper "
    "lantern lemon lily maple marble meadow mirror mountain ocean olive orchid pearl pepper pine planet plum quartz rabbit "
    "raven river saffron sailor salmon shadow silver snow spruce stone summer sunset thunder tiger timber tulip valley velvet "
    "violet walnut willow winter wolf yellow zebra"
).split()
_places = (
    "Arlington Bergen Calais Dresden Essen Fremont Geneva Hanover Izmir Jaipur Kyoto Leeds Madras Nantes Osaka Porto Quito "
    "Riga Seville Tampa Utrecht Verona Warsaw Xiamen Yonkers Zagreb"
).split()
_people = (
    "Aaron Bella Carlos Diana Edgar Fiona George Hannah Isaac Julia Karl Linda Martin Nora Oscar Paula Quentin Rosa Samuel "
    "Teresa Ulrich Vera Walter Xenia Yusuf Zoe"
).split()
_facts = [
    _Facts("The room number of {key} is {value}.", "Which room number does {key} have?", "The room number of {key} is {value}.", _people, 3),
    _Facts("{key}'s telephone extension is {value}.", "What is {key}'s telephone extension?", "{key}'s telephone extension is {value}.", _people, 5),
    _Facts("The password for {key} is {value}.", "Tell me the password for {key}.", "The password for {key} is {value}.", _places, 0),
    _Facts("Our shop in {key} sold {value} units.", "How many units did the shop in {key} sell?", "The shop in {key} sold {value} units.", _places, 4),
    _Facts("Flight {key} leaves from gate {value}.", "From which gate does flight {key} leave?", "Flight {key} leaves from gate {value}.", [f"{a}{b}" for a in "ABDK" for b in range(101, 160)], 2),
    _Facts("| {key} | {value} |\n", "What does the table say for {key}?", "| {key} | {value} |", [word.capitalize() for word in _words], 4),
    _Facts("{key} = {value}\n", "What is {key}?", "{key} = {value}", [f"{a}_{b}" for a in _words[:20] for b in ("size", "count", "limit")], 4),
    _Facts("{key} likes the {value}.", "What does {key} like?", "{key} likes the {value}.", _people, 0),
]


_frames = (
    "{text}",
    "{text}",
    "Passage: {text}",
    "Document {number}: {text}",
    "[{number}] {text}",
    "<document>\n{text}\n</document>",
    "### Text {number}\n{text}",
)


def _passage_apart(row: dict) -> tuple[str, str, str] | None:
    """Splits a prompt into the passage, its longest line, and the question that its other lines are, with the answer."""
    lines = [line.strip() for line in row["prompt"].split("\n") if line.strip()]
    passage = max(lines, key=len)
    question = "\n".join(line for line in lines if line is not passage)
    if len(passage) < 300 or not question.count("?") or len(question) > len(passage) or not row["completion"].strip():
        return None
    return passage, question, row["completion"].strip()


def split_apart(text: str, draw: random.Random) -> str:
    """Splits text as corpora for word-level models do: punctuation apart, rare words unknown, headings between signs."""
    text = re.sub(r"(?<=\w)([-,.])(?=\w)", r" @\1@ ", text)
    text = re.sub(r"(?<! @)([.,;:!?()\[\]\"“”])(?!@ )", r" \1 ", text)
    text = re.sub(r"(?<=\w)(['’]s\b)", r" \1", text)
    words = set(re.findall(r"\b[A-Z][a-z]{5,}\b|\b[a-z]{11,}\b", text))
    unknown = {word for word in words if draw.random() < 0.1}
    text = re.sub(r"\b\w+\b", lambda match: "<unk>" if match[0] in unknown else match[0], text)
    lines = [f" {' '.join(line.split())} " if line.strip() else " " for line in text.split("\n")]
    titled = [f" = = {line.strip()} = = " if 1 < len(line.split()) < 8 and line.strip()[-1] not in ".,;:!?" else line for line in lines]
    return "\n".join(titled)


def _asked(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _turns(texts: list[str]) -> list[dict[str, str]]:
    return [{"role": "user" if index % 2 == 0 else "assistant", "content": text} for index, text in enumerate(texts)]


def _bare(prompt: str) -> str:
    """Removes the frame that one data set puts around its instructions."""
    return prompt.split("### Instruction:\n")[-1].split("\n\n### Response:")[0].strip()


def _files(folder: Path) -> dict[str, Path]:
    return {path.name.split(".")[0]: path for path in folder.iterdir() if ".json" in path.name}


def _rows(path: Path) -> list[dict]:
    text = (gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")).read()
    # Rows may hold other line separators than \n.
    return json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.split("\n") if line.strip()]


def _paragraphs(path: Path) -> list[str]:
    lines = gzip.open(path, "rt", encoding="utf-8").read().split("\n")
    return ["\n".join(lines[at : at + 400]) for at in range(0, len(lines), 400)]


def _split(rows: list, held_out: bool) -> list:
    return [row for index, row in enumerate(rows) if (index % 20 == 0) == held_out]
