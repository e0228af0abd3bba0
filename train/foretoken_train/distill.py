"""Trains a fitted predictor's maps and bridges so that the base model answers on predicted K and V as on exact ones.

The loss of a text is the mean KL divergence of the base's next-token distributions on exact K and V
from those on predicted ones, over blocks of the text at several depths and after windows of several
lengths, plus a small pull of K and V themselves (the consistency term of KV Prediction, arXiv
2410.08391, section 4.3).
"""

import argparse
import json
import random
import time
from pathlib import Path

import torch
from torch import Tensor

from .base import Base
from .data import Corpus, Document
from .plan import Plan
from .predictor import read_predictor, with_inner_bridges, write_predictor
from .student import Block, Teacher, compared, student
from .tokens import Tokens


def main() -> None:
    options = _options()
    base = Base(options.base, options.bfloat16)
    tokens = Tokens(base.reader)
    trainer = Trainer(base, tokens, options)
    trainer.resume()
    trainer.run()


class Trainer:
    def __init__(self, base: Base, tokens: Tokens, options: argparse.Namespace):
        self.base = base
        self.options = options
        self.predictor, self.header = read_predictor(options.start)
        # Records of earlier runs on this predictor.
        before = self.header["training"].get("distilled", [])
        self.before = before if isinstance(before, list) else [before]
        if options.inner_bridges:
            self.predictor = with_inner_bridges(self.predictor, self.header["layers"])
            self.header["plan"] |= self.predictor.plan.header()
        decayed = [p for p in self.predictor.parameters() if p.requires_grad and p.ndim > 1]
        plain = [p for p in self.predictor.parameters() if p.requires_grad and p.ndim == 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": options.decay}, {"params": plain, "weight_decay": 0.0}],
            lr=options.lr,
            betas=(0.9, 0.98),
        )
        self.step = 0
        self.seconds = 0.0
        self.best = float("inf")
        self.corpus = Corpus(options.data, tokens, held_out=False, extra=options.sampled, answered=options.answered)
        held_out = Corpus(options.data, tokens, held_out=True, extra=options.sampled, answered=options.answered).documents(options.seed + 1, options.longest)
        self.judged = [cut(next(held_out), random.Random(index), options, self.predictor.plan, judged=True) for index in range(options.judged)]
        options.out.mkdir(parents=True, exist_ok=True)

    def resume(self) -> None:
        path = self.options.out / "last.pt"
        if not path.exists():
            return
        last = torch.load(path, weights_only=False)
        self.predictor.load_state_dict(last["predictor"])
        self.optimizer.load_state_dict(last["optimizer"])
        self.step, self.seconds, self.best = last["step"], last["seconds"], last["best"]

    def run(self) -> None:
        options = self.options
        documents = self.corpus.documents(options.seed * 1_000_003 + self.step, options.longest)
        draw = random.Random(options.seed * 7919 + self.step)
        begun = time.monotonic() - self.seconds
        running: list[float] = []
        while self.step <= options.steps:
            if self.step % options.judge_every == 0:
                self.seconds = time.monotonic() - begun
                self._keep(running)
                running = []
            rate = options.lr * learning_rate(self.step, options.steps, options.warmup)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.zero_grad()
            for _ in range(options.batch):
                ids, blocks = cut(next(documents), draw, options, self.predictor.plan)
                loss, kl = self._loss(ids, blocks)
                (loss / options.batch).backward()
                running.append(kl)
            torch.nn.utils.clip_grad_norm_(self.predictor.parameters(), 1.0)
            self.optimizer.step()
            self.step += 1

    def _loss(self, ids: Tensor, blocks: list[Block]) -> tuple[Tensor, float]:
        base = self.base
        teacher = Teacher(base.states(ids))
        outputs, predicted = student(base, self.predictor, teacher, blocks)
        kl = divergence(base, teacher, blocks, outputs).mean()
        pull = consistency(base, teacher, predicted, self.predictor.plan.sinks)
        return kl + self.options.consistency * pull, kl.item()

    @torch.no_grad()
    def judge(self) -> dict[str, float]:
        """Returns the held-out KL divergence by kind of text, and the share of equal first tokens."""
        precise, self.base.precise = self.base.precise, True
        kinds: dict[str, list[float]] = {}
        agreed: list[float] = []
        for (ids, blocks), kind in self.judged:
            teacher = Teacher(self.base.states(ids))
            outputs, _ = student(self.base, self.predictor, teacher, blocks)
            kinds.setdefault(kind, []).append(divergence(self.base, teacher, blocks, outputs).mean().item())
            first = [sum(block.end - block.prompt for block in blocks[:index]) for index in range(len(blocks))]
            wanted = self.base.logits(teacher.states[-1][[compared(blocks)[at] for at in first]]).argmax(-1)
            agreed += (self.base.logits(outputs[first]).argmax(-1) == wanted).float().tolist()
        self.base.precise = precise
        means = {kind: sum(values) / len(values) for kind, values in sorted(kinds.items())}
        everything = [value for values in kinds.values() for value in values]
        return {"kl": sum(everything) / len(everything), "first": sum(agreed) / len(agreed), **means}

    def _keep(self, running: list[float]) -> None:
        """Judges the predictor, writes a checkpoint, and writes its file if it is the best so far."""
        options = self.options
        judged = self.judge()
        row = {"step": self.step, "seconds": round(self.seconds), "train": sum(running) / max(1, len(running)), **judged}
        print(json.dumps({key: round(value, 4) for key, value in row.items()}), flush=True)
        with (options.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")
        if judged["kl"] < self.best:
            self.best = judged["kl"]
            training = {**self.header["training"], "method": "closed form, then distilled", "distilled": [*self.before, self._record()]}
            header = {**self.header, "training": training, "quality": {"held_out": judged, "documents": len(self.judged)}}
            write_predictor(options.out / "best.safetensors", self.predictor, header)
        state = {
            "predictor": self.predictor.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
        }
        torch.save(state, options.out / "last.partial")
        (options.out / "last.partial").rename(options.out / "last.pt")

    def _record(self) -> dict:
        o = self.options
        return {
            "steps": self.step,
            "texts": self.step * o.batch,
            "seed": o.seed,
            "longest": o.longest,
            "blocks": o.blocks,
            "lr": o.lr,
            "decay": o.decay,
            "consistency": o.consistency,
        }


def divergence(base: Base, teacher: Teacher, blocks: list[Block], outputs: Tensor) -> Tensor:
    """Returns the KL divergence of the exact next-token distributions from the student's at the compared positions, in nats."""
    with torch.no_grad():
        exact = base.logits(teacher.states[-1][compared(blocks)]).log_softmax(-1)
    return (exact.exp() * (exact - base.logits(outputs).log_softmax(-1))).sum(-1)


def consistency(base: Base, teacher: Teacher, predicted: dict[int, tuple[Tensor, Tensor]], sinks: int) -> Tensor:
    """Returns the mean squared error of K and V relative to the exact ones' variance, averaged over layers."""
    total = torch.zeros(())
    for layer, pair in predicted.items():
        with torch.no_grad():
            exact = base.kv(layer, teacher.states[layer][: len(pair[0])])
        for is_, wanted in zip(pair, exact):
            total = total + (is_ - wanted)[sinks:].square().mean() / wanted[sinks:].var(0).mean()
    return total / (2 * len(predicted))


def cut(document: Document, draw: random.Random, options: argparse.Namespace, plan: Plan, judged: bool = False):
    """Returns the ids of a text, and blocks to compare at: at its answers, and at random elsewhere."""
    length = min(len(document.ids), options.longest + options.stretch)
    count = 1 if length < 300 else options.blocks
    least = 96
    wanted = [at for at in document.answers if least <= at < length - 1]
    draw.shuffle(wanted)
    wanted = wanted[:count]
    while len(wanted) < count and length - options.stretch > least:
        wanted.append(draw.randrange(least, length - options.stretch + 1))
    blocks: list[Block] = []
    for at in sorted(wanted or [length - 8]):
        deployed = plan.window_of(at)
        # A caller may ask for less work, or for more.
        asked = draw.choice((16, plan.window, deployed, deployed, int(at * draw.uniform(0.05, 0.4))))
        first = max(4, at - (deployed if judged else asked))
        end = min(length, at + options.stretch)
        # Blocks may overlap, since each runs separately.
        blocks.append(Block(first, at, end))
    pair = torch.tensor(document.ids[: blocks[-1].end]), blocks
    return (pair, document.kind) if judged else pair


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """Rises, stays level, and falls over the last three tenths, so that a run can be extended."""
    up = min(1.0, (step + 1) / warmup)
    down = min(1.0, max(0.0, (steps - step) / (0.3 * steps)) + 0.02)
    return up * down


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="the base model, GGUF")
    parser.add_argument("--start", type=Path, required=True, help="a predictor from `foretoken fit`")
    parser.add_argument("--data", type=Path, required=True, help="the folder of training texts")
    parser.add_argument("--sampled", type=Path, nargs="*", default=[], help="chats answered by the base itself, JSON lines")
    parser.add_argument("--answered", type=Path, nargs="*", default=[], help="whole prompts answered by the base itself (prompts.py)")
    parser.add_argument("--bfloat16", action="store_true", help="train with products in bfloat16; held-out figures stay float32")
    parser.add_argument("--out", type=Path, required=True, help="a folder for checkpoints, the log and best.safetensors")
    parser.add_argument("--inner-bridges", action="store_true", help="train a bridge before each layer of a run, too")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=2, help="texts a step")
    parser.add_argument("--longest", type=int, default=1024, help="tokens of a text")
    parser.add_argument("--blocks", type=int, default=4, help="blocks compared in a text")
    parser.add_argument("--stretch", type=int, default=48, help="tokens of a block")
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--warmup", type=int, default=30)
    parser.add_argument("--decay", type=float, default=1e-4)
    parser.add_argument("--consistency", type=float, default=0.02)
    parser.add_argument("--judge-every", type=int, default=100)
    parser.add_argument("--judged", type=int, default=28, help="held-out texts")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
