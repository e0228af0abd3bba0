"""The path of predicted tokens through the layers: the plan in a predictor's header (src/predict/plan.ts)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A state that K and V are predicted from: the input of layer `at`."""

    at: int
    taps: int
    maps: range
    """Layers whose K and V are maps of this state."""
    run: tuple[int, int] | None
    """The layers from .. to - 1 that a bridge leads to."""


@dataclass(frozen=True)
class Plan:
    shared: int
    runs: tuple[tuple[int, int], ...]
    taps: tuple[int, ...]
    sinks: int
    window: int
    window_share: float = 0.0

    def window_of(self, prompt: int) -> int:
        """Returns the number of tokens at a prompt's end that run through all layers."""
        return max(self.window, int(prompt * self.window_share))

    def sources(self, layers: int) -> list[Source]:
        found = []
        at = self.shared
        for index, taps in enumerate(self.taps):
            run = self.runs[index] if index < len(self.runs) else None
            # The exact state of layer `shared` makes its own K and V.
            first = at + 1 if index == 0 else at
            found.append(Source(at, taps, range(first, run[0] if run else layers), run))
            at = run[1] if run else layers
        return found

    def header(self) -> dict:
        """Returns the parts of a predictor's header that training may change."""
        return {"runs": [{"from": first, "to": end} for first, end in self.runs], "taps": list(self.taps)}

    @staticmethod
    def of(header: dict) -> "Plan":
        runs = tuple((run["from"], run["to"]) for run in header["runs"])
        window = header["window"], header.get("windowShare", 0.0)
        return Plan(header["shared"], runs, tuple(header["taps"]), header["sinks"], *window)
