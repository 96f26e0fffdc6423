"""The phases of a run in words, for people; `step/observe.py` has their names."""

_PHASES = {
    "load": "loading",
    "prepare": "preparation",
    "forward": "the forward pass",
    "backward": "the backward pass",
    "optimizer": "the optimizer's update",
    "evaluate": "the evaluation",
    "save": "saving",
}
_STEPS = {"first-step": "the first step", "later-steps": "later steps"}


def peak_words(phase: str, step: str) -> str:
    """Where a peak comes: `the backward pass of later steps`; `step` is empty for what is in none."""
    words = _PHASES.get(phase, phase)
    return f"{words} of {_STEPS[step]}" if step else words
