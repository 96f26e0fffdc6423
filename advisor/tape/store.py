"""Where tapes come from: shipped with the project, kept from an earlier trace, or traced now.

Tracing runs in processes of its own, two at a time: it needs torch, and what answers from a kept tape
does not.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import advisor
from advisor.errors import AdvisorError, ExitCode
from advisor.records import GpuSpec, ModelSpec, TrainConfig
from advisor.tape.file import load_tape
from advisor.tape.record import Tape
from advisor.tape.regime import regime_of
from advisor.tape.target import Target, target_of
from advisor.tape.tracers import Tracers
from advisor.tape.versions import installed_version, packages_of

_TRACING = ("simulate", "step", "tape")  # the parts of this package that make tapes
# What a config.json says that changes nothing of a step.
_IDLE_FACTS = ("_name_or_path", "architectures", "torch_dtype", "dtype", "transformers_version", "use_cache")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One tape: a model, a way to train it, and the card whose kernels it takes."""

    model: ModelSpec
    config: TrainConfig
    target: Target

    @property
    def key(self) -> dict[str, Any]:
        """What the tape says it was recorded for."""
        return regime_of(self.config, self.model.config).key(self.config, self.target)

    @property
    def digest(self) -> str:
        """The tape's name: the same for every shape of the regime, whoever asks."""
        facts = {k: v for k, v in self.model.config.items() if k not in _IDLE_FACTS}
        text = json.dumps({"facts": facts, "key": self.key}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:20]


def wanted(model: ModelSpec, config: TrainConfig, gpu: GpuSpec | None) -> Wanted:
    """The tape that answers for the config on the card."""
    return Wanted(model, config, target_of(gpu))


def all_wanted(model: ModelSpec, config: TrainConfig, gpu: GpuSpec | None) -> tuple[Wanted, ...]:
    """That tape, and the one for the evaluation where its batches are other ones."""
    step = wanted(model, config, gpu)
    evaluation = wanted(model, config.evaluated, gpu)
    apart = config.evaluates and evaluation.digest != step.digest
    return (step, evaluation) if apart else (step,)


class TapeStore:
    """Finds tapes, and has missing ones traced. Kept tapes lie in `cache_folder`."""

    def __init__(  # noqa: PLR0913 - each has a default
        self,
        cache_folder: Path | None = None,
        shipped_folder: Path | None = None,
        *,
        may_trace: bool = True,
        any_versions: bool = False,
        lines: bool = False,
        on_trace: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`any_versions`: accept a tape of other package versions, as where nothing can be traced.

        `on_trace` is told how many tapes are about to be traced. `lines`: tapes that know which line of code asked
        for what; they lie apart, and none is shipped.
        """
        self.cache_folder = cache_folder or default_cache_folder()
        self.shipped_folder = shipped_folder or default_shipped_folder()
        if lines:
            self.cache_folder = self.shipped_folder = self.cache_folder / "lines"
        self.lines = lines
        self.may_trace = may_trace
        self.any_versions = any_versions
        self.on_trace = on_trace
        self._tapes: dict[str, Tape] = {}
        self._failed: dict[str, AdvisorError] = {}
        self._tracers: Tracers | None = None
        self.traced = 0  # tapes that were made because none was there

    def find(self, ask: Wanted) -> Tape | None:
        """The tape, if it is there and of the installed versions."""
        if ask.digest in self._tapes:
            return self._tapes[ask.digest]
        for path in (self._shipped.get(ask.digest), self.cache_folder / f"{ask.digest}.tape"):
            tape = _readable(path) if path else None
            if tape is not None and tape.key == ask.key and self._is_current(tape, ask.config):
                self._tapes[ask.digest] = tape
                return tape
        return None

    def _is_current(self, tape: Tape, config: TrainConfig) -> bool:
        return self.any_versions or tape.versions == {n: installed_version(n) for n in packages_of(config)}

    @cached_property
    def _shipped(self) -> dict[str, Path]:
        """Shipped tapes by digest; they lie in a folder a model."""
        return {path.stem: path for path in self.shipped_folder.glob("*/*.tape")}

    def get(self, ask: Wanted) -> Tape:
        """The tape, traced if it must be.

        Raises: AdvisorError where the step can't be traced.
        """
        self.prepare([ask])
        tape = self.find(ask)
        if ask.digest in self._failed:
            raise self._failed[ask.digest]
        if tape is None:
            raise AdvisorError(
                f"There is no tape for {ask.model.name}.",
                why="nothing was traced for it, and tracing is off here",
                fix="run the same question on a machine with the pinned packages",
                exit_code=ExitCode.ENVIRONMENT,
            )
        return tape.split_at(ask.config.checkpointed_layers)

    def prepare(self, asks: Iterable[Wanted]) -> None:
        """Have every missing tape traced; `get` tells of one that can't be."""
        missing = {ask.digest: ask for ask in asks if self._is_missing(ask)}
        if not missing or not self.may_trace:
            return
        if self._tracers is None:
            self._tracers = Tracers()
        self.on_trace(len(missing))
        errors = self._tracers.trace([self._request(ask) for ask in missing.values()])
        self._failed |= {d: e for d, e in zip(missing, errors, strict=True) if e is not None}
        self.traced += len(missing)

    def _is_missing(self, ask: Wanted) -> bool:
        return ask.digest not in self._failed and self.find(ask) is None

    def close(self) -> None:
        """End the processes that trace, if there are any."""
        if self._tracers is not None:
            self._tracers.close()

    def _request(self, ask: Wanted) -> dict[str, Any]:
        return {
            "id": ask.digest,
            "facts": ask.model.config,
            "config": ask.config.to_json(),
            "compute_capability": list(ask.target.compute_capability),
            "multiprocessors": ask.target.multiprocessors,
            "path": str(self.cache_folder / f"{ask.digest}.tape"),
            "lines": self.lines,
        }


def _readable(path: Path) -> Tape | None:
    """The tape at the path; None where there is none, or where it is of another schema."""
    if not path.is_file():
        return None
    try:
        return load_tape(path)
    except AdvisorError:
        return None  # it will be traced again and replaced


def default_cache_folder() -> Path:
    """`$ADVISOR_CACHE`, else `advisor` in the user's cache folder; below it a folder for each version of the tracer."""
    home = os.environ.get("XDG_CACHE_HOME")
    usual = (Path(home) if home else Path.home() / ".cache") / "advisor"
    return Path(os.environ.get("ADVISOR_CACHE") or usual) / "tapes" / tracer_fingerprint()


@cache
def tracer_fingerprint() -> str:
    """Of the sources that decide what a trace records: an upgrade of this project must not be answered by old tapes."""
    package = Path(advisor.__file__).parent
    digest = hashlib.sha256()
    for folder in _TRACING:
        for path in sorted((package / folder).iterdir()):
            if path.suffix in (".py", ".toml"):
                digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def default_shipped_folder() -> Path:
    """In an installed package `advisor/_shipped`, in a checkout `profiles`."""
    package = Path(advisor.__file__).parent
    inside = package / "_shipped" / "tapes"
    return inside if inside.is_dir() else package.parent / "profiles" / "tapes"
