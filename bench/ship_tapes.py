"""Record the tapes that ship, so that a plan for a common model needs no trace.

    python -m bench.ship_tapes            # record what is missing or of other package versions
    python -m bench.ship_tapes --fresh    # record all of it again

They lie in profiles/tapes, a folder a model; a tape's name is the digest of what it was recorded for.
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import find_model
from advisor.demo import MODEL_FOLDER
from advisor.plan.goals import Goal
from advisor.plan.lanes import DEMO_OPTIONS, Lane, PlanOptions, lanes
from advisor.plan.search import half_precision
from advisor.records import Checkpointing, GpuSpec, Loss, Method, ModelSpec, Precision, TrainConfig
from advisor.tape.regime import EDGE_PARTS, layers_are_alike
from advisor.tape.store import TapeStore, Wanted, default_shipped_folder, wanted

# One model a size that people ask for, and one card a family of kernels: sm75, sm80 and sm90.
MODELS = ("0.5B", "1B", "3B", "7B", "8B", "14B", "32B", "70B")
CARDS = ("t4", "rtx-4090", "h100-80gb-sxm")
_FULL_BELOW = 4_000_000_000  # parameters: larger ones are rarely trained whole on one card
# Micro-batches of 2,048 tokens that a plan considers, each in a class of shapes of its own: tiles of the loss tell them apart, or
# that the whole effective batch goes at once.
_SHAPES = {Loss.CHUNKED: (1, 2, 4, 8), Loss.LIGER: (1, 2, 16)}
_PARTLY_SHAPES = {Loss.CHUNKED: (1, 2, 4, 8), Loss.LIGER: (1, 2)}
_LONG = 16_384  # tokens; longer sequences share its tape, for `--goal longest-context`


def main(*, fresh: Annotated[bool, typer.Option()] = False) -> None:
    """Record every tape that is missing, and remove what nobody asks for any more."""
    for name, asks in _by_model():
        folder = default_shipped_folder() / name
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        store = TapeStore(cache_folder=folder, shipped_folder=Path("nowhere"))
        store.prepare(asks)
        for ask in asks:
            store.get(ask)  # raises where it could not be traced
        store.close()
        gone = [path for path in folder.glob("*.tape") if path.stem not in {ask.digest for ask in asks}]
        for path in gone:
            path.unlink()
        typer.echo(f"{name}: {len(asks)} tapes, {store.traced} recorded, {len(gone)} no longer wanted")


def _by_model() -> Iterator[tuple[str, list[Wanted]]]:
    for name in MODELS:
        model = find_model(name)[0]
        yield model.name, shipped(model)
    demo = find_model(str(MODEL_FOLDER))[0]
    card = find_gpu(CARDS[1])[0]
    yield (
        "demo",
        [wanted(demo, config, card) for config in _shapes(_lane(card, DEMO_OPTIONS, model), DEMO_OPTIONS)],
    )


def shipped(model: ModelSpec) -> list[Wanted]:
    """Every tape that ships for a model, each once."""
    asks = [
        wanted(model, config, gpu)
        for gpu in (find_gpu(card)[0] for card in CARDS)
        for options in (PlanOptions(), PlanOptions(goal=Goal.FASTEST))  # the chunked loss, and Liger's
        for config in _configs(model, gpu, options)
    ]
    return list({ask.digest: ask for ask in asks}.values())


def _configs(model: ModelSpec, gpu: GpuSpec, options: PlanOptions) -> Iterator[TrainConfig]:
    for lane in lanes(gpu, options, model):
        if lane.unsupported:
            continue
        if _often_chosen(lane, model, gpu):
            yield from _shapes(lane, options)
            yield from _partly(lane, model, options)
            yield replace(lane.with_shape(1, options, lane.checkpointing), sequence_length=_LONG)
        elif lane.config.loss is not Loss.LIGER:
            yield lane.with_shape(1, options, lane.checkpointing)


def _often_chosen(lane: Lane, model: ModelSpec, gpu: GpuSpec) -> bool:
    config = lane.config
    if config.method is Method.FULL:
        return config.loss is Loss.CHUNKED and model.parameters < _FULL_BELOW
    if config.method is Method.LAST_LAYERS:
        return False
    return config.precision in (half_precision(gpu), Precision.NF4)


def _shapes(lane: Lane, options: PlanOptions) -> Iterator[TrainConfig]:
    sizes = (options.micro_batch,) if options.micro_batch else _SHAPES[lane.config.loss]
    for micro_batch in sizes:
        for kind in (Checkpointing.NONE, lane.checkpointing):
            yield lane.with_shape(micro_batch, options, kind)


def _partly(lane: Lane, model: ModelSpec, options: PlanOptions) -> Iterator[TrainConfig]:
    """Some layers checkpointed: one tape a shape answers for every count of them but a few at either end."""
    layers = int(model.config.get("num_hidden_layers") or 0)
    if not layers_are_alike(model.config) or layers < 2 * EDGE_PARTS:
        return
    for micro_batch in _PARTLY_SHAPES[lane.config.loss]:
        config = lane.with_shape(micro_batch, options, lane.checkpointing)
        yield replace(config, checkpointed_layers=layers // 2)


def _lane(gpu: GpuSpec, options: PlanOptions, model: ModelSpec) -> Lane:
    return next(lane for lane in lanes(gpu, options, model) if lane.config.method is Method.LORA)


if __name__ == "__main__":
    typer.run(main)
