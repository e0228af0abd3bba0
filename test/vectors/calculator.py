"""Computes random arithmetic expressions by the reference, Python's own arithmetic.

    python test/vectors/calculator.py

Writes test/vectors/calculator.json: expressions with their values, null for those that have no
finite real value. Python's `%` has the sign of the divisor, its powers bind to the right and more
tightly than a sign before them. Needs nothing.
"""

import json
import math
import platform
import random
from pathlib import Path

FUNCTIONS = {
    "sqrt": math.sqrt, "abs": abs, "exp": math.exp, "ln": math.log, "log2": math.log2, "log10": math.log10,
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "atan": math.atan, "floor": math.floor, "ceil": math.ceil,
    "trunc": math.trunc, "min": min, "max": max, "hypot": math.hypot, "pow": pow,
}  # fmt: skip
TWO = {"min", "max", "hypot", "pow"}
NAMES = {**FUNCTIONS, "pi": math.pi, "e": math.e, "__builtins__": {}}


def number(draw: random.Random) -> str:
    kind = draw.randrange(6)
    if kind < 3:
        return str(draw.randrange(20))
    if kind == 3:
        return f"{draw.uniform(0, 100):.3f}"
    return draw.choice(["pi", "e", "1e3", "2.5E-2", ".5", "7."])


def expression(draw: random.Random, depth: int) -> str:
    kind = draw.randrange(10)
    if depth == 0 or kind == 0:
        return number(draw)
    inner = lambda: expression(draw, depth - 1)  # noqa: E731
    space = draw.choice(["", " "])
    if kind < 6:
        return f"{inner()}{space}{draw.choice('+-*/%')}{space}{inner()}"
    if kind == 6:
        return f"{inner()}{space}**{space}{draw.choice(['2', '3', '-1', '.5', '2**2'])}"
    if kind == 7:
        return f"({inner()})"
    if kind == 8:
        return f"{draw.choice('-+')}{inner()}"
    name = draw.choice(list(FUNCTIONS))
    return f"{name}({inner()}, {inner()})" if name in TWO else f"{name}({inner()})"


def value(text: str) -> float | None:
    try:
        # Numbers are floats, as in JavaScript, so that powers of integers are not exact.
        found = eval(floats(text), NAMES)  # noqa: S307: the text was made above
    except (ValueError, ZeroDivisionError, OverflowError):
        return None
    return float(found) if isinstance(found, (int, float)) and math.isfinite(found) else None


def floats(text: str) -> str:
    out, at = "", 0
    while at < len(text):
        end = at
        while end < len(text) and (text[end].isdigit() or text[end] == "."):
            end += 1
        before = text[at - 1] if at else ""
        exponent = before in "eE" or (before in "+-" and at > 1 and text[at - 2] in "E")
        name = before.isalpha() and not exponent
        if end > at and "." not in text[at:end] and not exponent and not name and text[end : end + 1] not in ("e", "E"):
            out += text[at:end] + ".0"
        else:
            out += text[at : max(end, at + 1)]
        at = max(end, at + 1)
    return out


def main() -> None:
    draw = random.Random(46)
    rows = []
    while len(rows) < 600:
        text = expression(draw, draw.randrange(1, 5))
        # Here a `%` before a sign is a percent sign.
        if len(text) <= 80 and not any(sign in text.replace(" ", "") for sign in ("%-", "%+")):
            rows.append([text, value(text)])
    out = {"python": platform.python_version(), "rows": rows}
    Path(__file__).with_suffix(".json").write_text(json.dumps(out, indent=0).replace("\n", "").replace("],[", "],\n[") + "\n")


main()
