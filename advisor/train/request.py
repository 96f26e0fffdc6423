"""What the user asks of one run, beside the plan. No torch here: the command line imports it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """How to run a plan: the data, the weights, where to, and for how long."""

    data: Path
    output: Path
    evaluation_data: Path | None = None  # None: the last 5 % of the examples are held out
    model: str | None = None  # directory, hub name, or the name of a catalog shape (random weights)
    max_steps: int | None = None  # None: `epochs` passes over the data
    epochs: float = 1.0
    learning_rate: float | None = None  # None: the method's, see `train/recipe.py`
    warmup_steps: int | None = None
    seed: int = 0
    save_steps: int | None = None  # a checkpoint each so many steps; 0: none; None: by the clock
    evaluate_steps: int = 0  # the held-out loss each so many steps; 0: before and after alone
    patience: int = 0  # stop after so many evaluations that are no better; 0: never
    cap_bytes: int | None = None  # give the allocator no more than this, as on a smaller card
    guard: bool = True  # refuse a run that can't work here, before it starts
    force: bool = False  # replace what an earlier run left
    resume: bool = False  # there must be a checkpoint in `output` to go on from
    rehearse: bool = True  # one step and another on the longest batch first, undone
    learn: bool = True  # write what was measured on a card to the user's profiles
