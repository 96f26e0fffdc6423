"""The user's text in the plan's shape: every micro-batch exactly [micro_batch, sequence_length]."""

from dataclasses import dataclass, replace

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from advisor.errors import AdvisorError
from advisor.records import Loss, TrainConfig
from advisor.step.data import Packed, arranged, packed_blocks
from advisor.train.request import RunRequest
from advisor.train.rows import RowFormat, Rows, held_out_count, read_rows
from advisor.train.tokens import encoded, what_counts

_MOST_HELD_OUT_BLOCKS = 256  # enough for a loss to two digits; more would cost more than they tell


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What was read, before any token is made of it."""

    training: Rows
    held_out: Rows | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunData:
    """Blocks in the order of training, and those held out."""

    training: Dataset  # steps * effective_batch rows: no batch is smaller, no accumulation cut short
    held_out: Dataset | None
    format: RowFormat
    examples: int
    tokens: int  # in one pass
    blocks: int  # in one pass
    steps: int
    passes: float  # over the blocks
    uncounted_tokens: int  # in one pass: the loss skips them, and the chunked one takes no memory for them
    digest: str  # of every token and label before they were shuffled
    notes: tuple[str, ...]


def read_texts(request: RunRequest) -> Texts:
    """The training rows and the held-out ones: a file of their own, or the last 5 % of the examples.

    Raises: AdvisorError naming the file and the line that is no example.
    """
    rows = read_rows(request.data)
    if request.evaluation_data is not None:
        return Texts(training=rows, held_out=read_rows(request.evaluation_data), notes=())
    count = held_out_count(len(rows.rows))
    if not count:
        note = f"no evaluation: 5 % of {len(rows.rows)} examples is none; --eval-data FILE gives some"
        return Texts(training=rows, held_out=None, notes=(note,))
    note = f"held out for evaluation: the last {count} of {len(rows.rows)} examples (5 %)"
    return Texts(
        training=replace(rows, rows=rows.rows[:-count]),
        held_out=replace(rows, rows=rows.rows[-count:]),
        notes=(note,),
    )


def arrange(
    texts: Texts, tokenizer: PreTrainedTokenizerBase, config: TrainConfig, request: RunRequest, *, vocab: int
) -> RunData:
    """The texts as blocks of the plan's length, shuffled, in whole optimizer steps.

    Raises: AdvisorError where nothing is left to learn from, or a token is not in the model's vocabulary.
    """
    packed = _packed(texts.training, tokenizer, config, vocab)
    blocks = len(packed.blocks)
    steps = request.max_steps or max(1, int(request.epochs * blocks / config.effective_batch))
    rows = steps * config.effective_batch
    held_out, held_out_notes = _held_out(texts, tokenizer, config, vocab)
    return RunData(
        training=arranged(packed.blocks, rows, seed=request.seed),
        held_out=held_out,
        format=texts.training.format,
        examples=len(texts.training.rows),
        tokens=packed.tokens,
        blocks=blocks,
        steps=steps,
        passes=rows / blocks,
        uncounted_tokens=packed.uncounted_tokens,
        digest=packed.digest,
        notes=(
            *texts.notes,
            what_counts(texts.training, tokenizer),
            *_packing_notes(packed, config, texts.training.format, tokenizer),
            _steps_note(blocks, steps, config),
            *held_out_notes,
        ),
    )


def _packed(rows: Rows, tokenizer: PreTrainedTokenizerBase, config: TrainConfig, vocab: int) -> Packed:
    packed = packed_blocks(encoded(rows, tokenizer), config.sequence_length)
    if not len(packed.blocks):
        raise AdvisorError(
            f"{rows.path} leaves nothing to learn from.",
            why=f"no block of {config.sequence_length} tokens holds a token that the loss counts",
            fix="give more text, or plan a shorter --sequence-length",
        )
    if packed.largest_token >= vocab:
        raise AdvisorError(
            f"The tokenizer makes tokens that the model does not have: {packed.largest_token}, of {vocab}.",
            why="tokens were added to the tokenizer and not to the model, or it is another model's",
            fix="use the tokenizer that came with the weights",
        )
    return packed


def _held_out(
    texts: Texts, tokenizer: PreTrainedTokenizerBase, config: TrainConfig, vocab: int
) -> tuple[Dataset | None, tuple[str, ...]]:
    if texts.held_out is None:
        return None, ()
    blocks = _packed(texts.held_out, tokenizer, config, vocab).blocks
    # Whole micro-batches where there is one: evaluation takes the plan's shape too.
    most = min(len(blocks), max(config.micro_batch, _MOST_HELD_OUT_BLOCKS))
    count = most // config.micro_batch * config.micro_batch or most
    note = f"evaluated on {count} of {len(blocks)} held-out blocks"
    return blocks.select(range(count)), (note,)


def _packing_notes(
    packed: Packed, config: TrainConfig, kind: RowFormat, tokenizer: PreTrainedTokenizerBase
) -> tuple[str, ...]:
    notes = ["examples are packed end to end: those in one block see each other through attention"]
    if packed.padded_tokens:
        notes.append(
            f"the text is shorter than one block of {config.sequence_length}: "
            f"{packed.padded_tokens} tokens of padding were added, which the loss does not count"
        )
    if packed.left_out_tokens:
        notes.append(f"the last {packed.left_out_tokens} tokens fill no block and are left out")
    if packed.unlabelled_blocks:
        notes.append(f"{packed.unlabelled_blocks} blocks without a token that the loss counts are left out")
    if kind is not RowFormat.CHAT and tokenizer.eos_token_id is None:
        notes.append("the tokenizer has no end token: nothing marks where one example ends")
    if config.loss is Loss.CHUNKED and kind is not RowFormat.TEXT:
        notes.append("the chunked loss skips tokens that do not count, so the peak may stay below the plan's")
    return tuple(notes)


def _steps_note(blocks: int, steps: int, config: TrainConfig) -> str:
    batch = config.effective_batch
    passes = steps * batch / blocks
    made = f"{steps} steps of {batch} blocks ({config.micro_batch} at a time) over {blocks} blocks: {passes:.2f} passes"
    if blocks < batch:
        return f"{made}; one step alone repeats the blocks {batch / blocks:.1f} times"
    if passes < 1:
        return f"{made}; {blocks - steps * batch} blocks are not reached"
    return made
