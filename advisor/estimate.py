"""From a config to what it costs: tape, replay, interval."""

from dataclasses import replace

from advisor.evidence import Evidence
from advisor.merging import planned_merge_bytes
from advisor.pace import Pace, pace_of
from advisor.records import ByteInterval, Estimate, GpuSpec, Interval, ModelSpec, TrainConfig
from advisor.replay.allocated import largest_block_bytes, least_peak_bytes
from advisor.replay.anatomy import Moment, Share, shares_at_peak, timeline
from advisor.replay.brief import brief
from advisor.replay.clock import HostPace, StepCost
from advisor.replay.driver import Driver, driver_of
from advisor.replay.evaluation import with_evaluation
from advisor.replay.memory import (
    Outcome,
    Program,
    alive_at_peak,
    minimum_reserved_bytes,
    program,
    replay,
)
from advisor.replay.shape import Shape
from advisor.replay.work import Sized, Work, at_shape, work
from advisor.residuals.facts import facts_of
from advisor.residuals.measured import MeasuredConfigs, with_measured
from advisor.residuals.ranges import byte_range, margin_bytes, on_device, with_managed
from advisor.residuals.table import MEMORY, REPEATS, Table, shipped
from advisor.tape.record import Tape
from advisor.tape.store import TapeStore, Wanted, all_wanted, wanted
from advisor.tape.target import target_of
from advisor.units import GIB

# Without a card: the workspace of every architecture but Hopper; see catalog/gpus.toml for the source.
_USUAL_CUBLAS_WORKSPACE_BYTES = 8_519_680
# transformers 5.23 modeling_utils.py, caching_allocator_warmup: "max device memory - 1.2 GiB".
_WARMUP_LEAVES_BYTES = int(1.2 * GIB)


# How often the gap between the peaks is halved in search of the smallest cap.
FINE, COARSE = 10, 2


class Estimator:
    """Answers for configs; remembers programs and outcomes, so that asking twice costs nothing."""

    def __init__(self, store: TapeStore) -> None:
        """Tapes come from the store."""
        self.store = store
        self._tapes: dict[str, Tape] = {}  # brief ones
        self._works: dict[str, Work] = {}
        self._paces: dict[str, Pace] = {}
        self._programs: dict[str, Program] = {}
        self._least: dict[tuple[str, int | None, Shape], int] = {}
        self._outcomes: dict[tuple[str, Shape, int | None], Outcome] = {}
        self._blocks: dict[tuple[str, int | None, Shape], int] = {}
        self._measured = MeasuredConfigs()
        self._table = shipped(MEMORY)

    def prepare(self, model: ModelSpec, configs: list[TrainConfig], gpu: GpuSpec | None) -> None:
        """Have the tapes of several configs made at once, in parallel."""
        self.store.prepare(ask for config in configs for ask in all_wanted(model, config, gpu))

    def has_tape(self, model: ModelSpec, config: TrainConfig, gpu: GpuSpec | None) -> bool:
        """Whether the answer needs no trace."""
        return all(self.store.find(ask) is not None for ask in all_wanted(model, config, gpu))

    def outcome(
        self,
        model: ModelSpec,
        config: TrainConfig,
        gpu: GpuSpec | None,
        *,
        cap_bytes: int | None = None,
    ) -> Outcome:
        """The replay of the config on the card: peaks and retries.

        Raises: AdvisorError where the step can't be traced.
        """
        name, made = self._program(model, config, gpu)
        shape = shape_on(config, gpu)
        key = (name, shape, cap_bytes)
        if key not in self._outcomes:
            self._outcomes[key] = replay(made, shape, cap_bytes)
        return self._outcomes[key]

    def least_bytes(
        self, model: ModelSpec, config: TrainConfig, gpu: GpuSpec | None, like: TrainConfig | None = None
    ) -> int:
        """Less than this the config does not reserve; quick, where the tape is at hand.

        With `like`, the shape is read off that config's tape: a hint of what to trace, never an answer.
        """
        ask, shape = wanted(model, like or config, gpu), shape_on(config, gpu)
        key = (ask.digest, ask.config.checkpointed_layers, shape)
        if key not in self._least:
            self._least[key] = least_peak_bytes(self._tape(ask), shape)
        least = self._least[key]
        return byte_range(self._table, facts_of(config, gpu), "allocated", least, least).low

    def largest_block_bytes(
        self, model: ModelSpec, config: TrainConfig, gpu: GpuSpec | None, like: TrainConfig | None = None
    ) -> int:
        """The largest block that a step gives back; `like` as for `least_bytes`."""
        ask, shape = wanted(model, like or config, gpu), shape_on(config, gpu)
        key = (ask.digest, ask.config.checkpointed_layers, shape)
        if key not in self._blocks:
            self._blocks[key] = largest_block_bytes(self._tape(ask), shape)
        return self._blocks[key]

    def needed_bytes(self, model: ModelSpec, config: TrainConfig, gpu: GpuSpec | None, risk: float) -> int:
        """What the config reserves at most, but with that risk.

        Raises: AdvisorError where the step can't be traced.
        """
        seen = self._measured.find(model, config, gpu)
        if seen is not None:
            return self._needed_again_bytes(model, config, gpu, risk, seen.reserved)
        peak = self.outcome(model, config, gpu).peak_reserved_bytes
        return peak + self._margin_bytes(self._table, model, config, gpu, risk)

    def least_needed_bytes(
        self,
        model: ModelSpec,
        config: TrainConfig,
        gpu: GpuSpec | None,
        risk: float,
        like: TrainConfig | None = None,
    ) -> int:
        """No more than `needed_bytes`, and quick as `least_bytes` is."""
        seen = self._measured.find(model, config, gpu)
        if seen is not None:
            return self._needed_again_bytes(model, config, gpu, risk, seen.reserved, like)
        least = self.least_bytes(model, config, gpu, like)
        return least + self._margin_bytes(self._table, model, config, gpu, risk, like)

    def reserved(self, model: ModelSpec, config: TrainConfig, gpu: GpuSpec | None) -> ByteInterval:
        """The reserved peak with the range of real outcomes; measured, where it was.

        Raises: AdvisorError where the step can't be traced.
        """
        seen = self._measured.find(model, config, gpu)
        if seen is None:
            return self._reserved(model, config, gpu)
        block = self.largest_block_bytes(model, config, gpu)
        return seen.ranged("reserved", block, facts_of(config, gpu))

    def evidence(self, model: ModelSpec, config: TrainConfig, gpu: GpuSpec | None) -> Evidence:
        """What the peaks of an estimate and their ranges rest on."""
        seen = self._measured.find(model, config, gpu)
        return self._table.evidence(facts_of(config, gpu), "reserved") if seen is None else seen.evidence

    def estimate(
        self, model: ModelSpec, config: TrainConfig, gpu: GpuSpec | None, *, halvings: int = FINE
    ) -> Estimate:
        """The whole answer, measured where it was; `halvings` as `minimum_reserved_bytes` takes it.

        Raises: AdvisorError where the step can't be traced, or rows can't be read.
        """
        told = self.simulated(model, config, gpu, halvings=halvings)
        seen = self._measured.find(model, config, gpu)
        if seen is None or gpu is None:
            return told
        return with_measured(
            told, seen, gpu, facts_of(config, gpu), self.largest_block_bytes(model, config, gpu)
        )

    def simulated(
        self, model: ModelSpec, config: TrainConfig, gpu: GpuSpec | None, *, halvings: int = FINE
    ) -> Estimate:
        """As `estimate`, though it was measured.

        Raises: AdvisorError where the step can't be traced.
        """
        _, made = self._program(model, config, gpu)
        tape, shape = made.tape, shape_on(config, gpu)
        outcome = self.outcome(model, config, gpu)
        allocated, reserved = outcome.peak_allocated_bytes, self._reserved(model, config, gpu)
        facts = facts_of(config, gpu)
        step = None if gpu is None else self.step_seconds(model, config, gpu)
        return Estimate(
            evidence=self._table.evidence(facts, "reserved"),
            static_bytes=outcome.static_bytes,
            peak_allocated_bytes=byte_range(self._table, facts, "allocated", allocated, allocated),
            peak_reserved_bytes=reserved,
            minimum_reserved_bytes=minimum_reserved_bytes(made, shape, outcome, halvings=halvings),
            peak_device_bytes=None
            if gpu is None
            else with_managed(on_device(reserved, gpu), tape.managed_bytes, gpu),
            phases=(*outcome.phase_allocated_bytes.items(), *outcome.step_allocated_bytes.items()),
            peak_phase=outcome.peak_phase,
            peak_step=outcome.peak_step,
            merge_host_bytes=planned_merge_bytes(
                model, config, parameters=tape.parameters, trainable=tape.trainable
            ),
            at_peak=tuple(alive_at_peak(made, shape, outcome).items()),
            step_seconds=step,
            tokens_per_second=step and _tokens_per_second(config, step),
        )

    def step_seconds(self, model: ModelSpec, config: TrainConfig, gpu: GpuSpec) -> Interval:
        """Seconds of one optimizer step, all of its micro-batches.

        Raises: AdvisorError where the step can't be traced.
        """
        pace = self.pace(gpu)
        cost = StepCost.of(self.sized_kernels(model, config, gpu), pace.card)

        def seconds(host: HostPace) -> float:
            return cost.time(
                host,
                accumulation_steps=config.accumulation_steps,
                checkpointing=config.checkpointing.value,
            ).seconds

        return Interval(
            value=seconds(pace.host),
            low=seconds(pace.fast_host) * pace.low,
            high=seconds(pace.slow_host) * pace.high,
        )

    def sized_kernels(
        self, model: ModelSpec, config: TrainConfig, gpu: GpuSpec | None
    ) -> dict[str, list[Sized]]:
        """The kernels of a step's passes, with their counts and sizes.

        Raises: AdvisorError where the step can't be traced.
        """
        ask = wanted(model, config, gpu)
        tape = self._tape(ask)
        shape = config.micro_batch, config.sequence_length, ask.target.multiprocessors
        return at_shape(self._works[ask.digest], tape, *shape)

    def shares_at_peak(self, model: ModelSpec, config: TrainConfig, gpu: GpuSpec | None) -> tuple[Share, ...]:
        """What is alive at the allocated peak, largest first."""
        _, made = self._program(model, config, gpu)
        return shares_at_peak(made, shape_on(config, gpu), self.outcome(model, config, gpu))

    def timeline(
        self, model: ModelSpec, config: TrainConfig, gpu: GpuSpec | None, stretches: int
    ) -> tuple[Moment, ...]:
        """The highest moment of each of so many stretches of the run."""
        _, made = self._program(model, config, gpu)
        return timeline(made, shape_on(config, gpu), stretches)

    def pace(self, gpu: GpuSpec) -> Pace:
        """The card's pace, read once: a probe is a file of hundreds of kernels."""
        if gpu.slug not in self._paces:
            self._paces[gpu.slug] = pace_of(gpu)
        return self._paces[gpu.slug]

    def _reserved(self, model: ModelSpec, config: TrainConfig, gpu: GpuSpec | None) -> ByteInterval:
        peak = self.outcome(model, config, gpu).peak_reserved_bytes
        block = self.largest_block_bytes(model, config, gpu)
        return byte_range(self._table, facts_of(config, gpu), "reserved", peak, block)

    def _needed_again_bytes(  # noqa: PLR0913 - as `least_needed_bytes`, and what was seen
        self,
        model: ModelSpec,
        config: TrainConfig,
        gpu: GpuSpec | None,
        risk: float,
        seen: ByteInterval,
        like: TrainConfig | None = None,
    ) -> int:
        margin = self._margin_bytes(shipped(REPEATS), model, config, gpu, risk, like)
        return max(seen.high, seen.value + margin)

    def _margin_bytes(  # noqa: PLR0913 - as above
        self,
        table: Table,
        model: ModelSpec,
        config: TrainConfig,
        gpu: GpuSpec | None,
        risk: float,
        like: TrainConfig | None = None,
    ) -> int:
        block = self.largest_block_bytes(model, config, gpu, like)
        return margin_bytes(table, facts_of(config, gpu), "reserved", block, risk)

    def _tape(self, ask: Wanted) -> Tape:
        if ask.digest not in self._tapes:
            whole = self.store.get(ask)
            self._tapes[ask.digest], self._works[ask.digest] = brief(whole), work(whole)
        return self._tapes[ask.digest].split_at(ask.config.checkpointed_layers)

    def _program(self, model: ModelSpec, config: TrainConfig, gpu: GpuSpec | None) -> tuple[str, Program]:
        """The config's program and a name for it: that of its tape, with what it evaluates where it does."""
        name, made = self._training(model, config, gpu)
        if not config.evaluates:
            return name, made
        evaluated = config.evaluated
        alike = evaluated.micro_batch == config.micro_batch
        name += "+evaluation" if alike else f" evaluates {evaluated.micro_batch}x{config.sequence_length}"
        if name not in self._programs:
            self._programs[name] = (
                replace(made, counted=len(made.requests))
                if alike
                else with_evaluation(made, self._training(model, evaluated, gpu)[1], shape_on(evaluated, gpu))
            )
        return name, self._programs[name]

    def _training(self, model: ModelSpec, config: TrainConfig, gpu: GpuSpec | None) -> tuple[str, Program]:
        ask = wanted(model, config, gpu)
        tape = self._tape(ask)
        tiles = max(0, tape.further_tiles(config.micro_batch, config.sequence_length))
        name = f"{ask.digest}+{tiles}+{tape.further_kept}"
        if name not in self._programs:
            self._programs[name] = program(tape, tiles)
        return name, self._programs[name]


def _tokens_per_second(config: TrainConfig, step: Interval) -> Interval:
    tokens = config.tokens_per_step
    return Interval(value=tokens / step.value, low=tokens / step.high, high=tokens / step.low)


def shape_on(config: TrainConfig, gpu: GpuSpec | None) -> Shape:
    """The batch, and the sizes that the card decides."""
    return Shape(
        micro_batch=config.micro_batch,
        sequence_length=config.sequence_length,
        cublas_workspace_bytes=gpu.cublas_workspace_bytes if gpu else _USUAL_CUBLAS_WORKSPACE_BYTES,
        loader_warmup_limit_bytes=gpu.memory_bytes - _WARMUP_LEAVES_BYTES if gpu else None,
        allocator=config.allocator,
        multiprocessors=target_of(gpu).multiprocessors,
        driver=driver_of(gpu.compute_capability, config.method, config.precision) if gpu else Driver(),
    )
