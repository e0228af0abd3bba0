"""The path of predicted tokens through the layers: the plan in a predictor's header (src/predict/plan.ts)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """The layers first .. end - 1."""

    first: int
    end: int
    mlp: bool = True
    """False if only the layers' attention runs."""


@dataclass(frozen=True)
class Source:
    """A state that K and V are predicted from: the input of layer `at`."""

    at: int
    taps: int
    maps: range
    """Layers whose K and V are maps of this state."""
    run: Run | None
    """The layers that are run next."""
    bridged: bool
    """True if a bridge leads to them. The exact state needs none to reach the next layer."""


@dataclass(frozen=True)
class Plan:
    shared: int
    runs: tuple[Run, ...]
    taps: tuple[int, ...]
    sinks: int
    window: int
    window_share: float = 0.0
    window_most: int | None = None

    def window_of(self, prompt: int) -> int:
        """Returns the number of tokens at a prompt's end that run through all layers."""
        share = int(prompt * self.window_share)
        return max(self.window, share if self.window_most is None else min(share, self.window_most))

    def sources(self, layers: int) -> list[Source]:
        found = []
        at = self.shared
        for index, taps in enumerate(self.taps):
            run = self.runs[index] if index < len(self.runs) else None
            # The exact state of layer `shared` makes its own K and V.
            first = at + 1 if index == 0 else at
            bridged = run is not None and (index > 0 or run.first > at)
            found.append(Source(at, taps, range(first, run.first if run else layers), run, bridged))
            at = run.end if run else layers
        return found

    def header(self) -> dict:
        """Returns the parts of a predictor's plan that training may change."""
        runs = [{"from": run.first, "to": run.end} | ({} if run.mlp else {"mlp": False}) for run in self.runs]
        most = {} if self.window_most is None else {"windowMost": self.window_most}
        return {"shared": self.shared, "runs": runs, "taps": list(self.taps), "windowShare": self.window_share, **most}

    def version(self) -> int:
        """Returns the version of the header (src/predict/header.ts)."""
        return 1 if all(run.mlp for run in self.runs) and self.window_most is None else 2

    @staticmethod
    def of(header: dict) -> "Plan":
        runs = tuple(Run(run["from"], run["to"], run.get("mlp", True)) for run in header["runs"])
        window = header["window"], header.get("windowShare", 0.0), header.get("windowMost")
        return Plan(header["shared"], runs, tuple(header["taps"]), header["sinks"], *window)
