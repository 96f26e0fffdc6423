"""The data in a plan: it sets the sequence length, gives the reason, and tells how many steps an epoch takes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from advisor.data_facts.facts import cut, spread
from advisor.data_facts.lengths import Lengths, read_lengths
from advisor.data_facts.recommend import Recommended, recommend, share
from advisor.data_facts.tokenizer import find_tokenizer
from advisor.plan.document import Choice, Plan
from advisor.records import ModelSpec, Reason
from advisor.units import counted


def lengths_for(data: Path, tokenizer: str | None, model: str | None, spec: ModelSpec | None) -> Lengths:
    """The lengths of the file's examples, with the model's tokenizer where it lies on this machine.

    Raises: AdvisorError where the file or the tokenizer asked for can't be read.
    """
    found = find_tokenizer(tokenizer, model, spec.hub_name if spec else "")
    vocabulary = int(spec.config["vocab_size"]) if spec else None
    return read_lengths(data, found, vocabulary=vocabulary)


def length_for(data: Lengths, spec: ModelSpec | None, asked: int | None) -> Recommended:
    """The length to plan for: the one that was asked for, or what the data asks for."""
    if asked is not None:
        return Recommended(cut=cut(data.tokens, asked), reason=Reason(code="asked", text="asked for"))
    positions = spec.config.get("max_position_embeddings") if spec else None
    return recommend(data.tokens, positions=positions if isinstance(positions, int) else None)


def with_data(plan: Plan, data: Lengths, length: Recommended) -> Plan:
    """The plan with what the data decided: the reason of the length, an epoch, and what was assumed."""
    told = data.path.name
    reason = Reason(code=f"data-{length.reason.code}", text=f"{told}: {length.reason.text}")
    choices = tuple(
        Choice(name=one.name, value=one.value, reason=reason) if one.name == "sequence length" else one
        for one in plan.choices
    )
    return replace(
        plan,
        choices=choices,
        assumptions=(*plan.assumptions, *_assumed(plan, data, length)),
        data=_facts(plan, data, length),
    )


def _assumed(plan: Plan, data: Lengths, length: Recommended) -> tuple[str, ...]:
    facts, examples = _facts(plan, data, length), len(data.tokens)
    about = "about " if data.estimated else ""
    epoch = (
        f"{data.path.name}: {counted(examples, 'example')} of {data.format.value}, {about}{facts['tokens']:,} tokens; "
        f"an epoch is {about}{counted(facts['steps_per_epoch'], 'step')} of "
        f"{counted(plan.config.effective_batch, 'block')} of {plan.config.sequence_length:,} tokens, "
        "the last 5 % of the examples held out"
    )
    cut_off = (
        "examples are packed end to end, so a longer one goes on in the next block; a trainer that does not pack "
        f"would cut {share(length.cut.cut_examples, examples)} of them"
    )
    return (epoch, cut_off, *data.notes)


def _facts(plan: Plan, data: Lengths, length: Recommended) -> dict[str, Any]:
    """What the plan's document says of the data; tokens and steps are of the examples that a run trains on."""
    here = spread(data.training)
    blocks = here.tokens // plan.config.sequence_length
    return {
        "file": data.path.name,
        "format": data.format.value,
        "examples": len(data.tokens),
        "training_examples": here.examples,
        "tokens": here.tokens,
        "longest_tokens": max(data.tokens),
        "estimated": data.estimated,
        "cut_examples": length.cut.cut_examples,
        "cut_tokens": length.cut.cut_tokens,
        "blocks_per_epoch": blocks,
        "steps_per_epoch": max(1, blocks // plan.config.effective_batch),
    }
