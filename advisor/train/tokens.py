"""From rows of text to token ids and the labels that the loss counts."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from advisor.errors import AdvisorError
from advisor.step.labels import IGNORED
from advisor.train.rows import Row, RowFormat, Rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Example = tuple[list[int], list[int]]  # input_ids, labels

_AT_ONCE = 512  # rows tokenised in one call, which the tokenizer spreads over the cores
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


def encoded(rows: Rows, tokenizer: "PreTrainedTokenizerBase") -> Iterator[Example]:
    """Each row as (input_ids, labels).

    text: all tokens count. prompt and completion: the two are tokenised apart, so that the border is
    exact; only the completion and its end count. Both end with the tokenizer's end token. messages: the
    chat template writes the ends; only what it marks as the assistant's counts, or all where it marks nothing.
    Raises: AdvisorError where messages meet no chat template, or one that refuses them.
    """
    if rows.format is RowFormat.CHAT:
        masked = marks_assistant(_chat_template(rows, tokenizer))
        for row in rows.rows:
            yield _conversation(rows, row, tokenizer, masked=masked)
        return
    make = _texts if rows.format is RowFormat.TEXT else _completions
    for start in range(0, len(rows.rows), _AT_ONCE):
        yield from make(rows.rows[start : start + _AT_ONCE], tokenizer)


def what_counts(rows: Rows, tokenizer: "PreTrainedTokenizerBase") -> str:
    """Which tokens the loss counts, for people."""
    if rows.format is RowFormat.TEXT:
        return "the loss counts every token"
    if rows.format is RowFormat.COMPLETION:
        return "the loss counts the completions and not the prompts"
    if marks_assistant(_chat_template(rows, tokenizer)):
        return "the loss counts what the assistant says and nothing else"
    return (
        "the loss counts every token: the chat template has no {% generation %} mark around the assistant's"
    )


def marks_assistant(template: str) -> bool:
    """Whether the chat template says which tokens are the assistant's."""
    return _GENERATION.search(template) is not None


def _texts(rows: Sequence[Row], tokenizer: "PreTrainedTokenizerBase") -> Iterator[Example]:
    for ids in _ids([row.text for row in rows], tokenizer):
        whole = _ended(ids, tokenizer)
        yield whole, whole


def _completions(rows: Sequence[Row], tokenizer: "PreTrainedTokenizerBase") -> Iterator[Example]:
    prompts = _ids([row.prompt for row in rows], tokenizer)
    completions = _ids([row.completion for row in rows], tokenizer, special=False)
    end = tokenizer.eos_token_id
    for prompt, completion in zip(prompts, completions, strict=True):
        # A tokenizer that ends every text would end the prompt before its completion.
        begin = prompt[:-1] if prompt and prompt[-1] == end else prompt
        answer = _ended(completion, tokenizer)
        yield begin + answer, [IGNORED] * len(begin) + answer


def _conversation(rows: Rows, row: Row, tokenizer: "PreTrainedTokenizerBase", *, masked: bool) -> Example:
    turns = [{"role": turn.role, "content": turn.content} for turn in row.messages]
    try:
        made: Any = tokenizer.apply_chat_template(
            turns, return_dict=True, return_assistant_tokens_mask=masked
        )
    except (TemplateError, ValueError) as error:
        raise AdvisorError(
            f"{rows.path}, line {row.line}: the chat template refuses these messages.",
            why=str(error).splitlines()[0],
            fix="most templates want an optional system message, then user and assistant in turn",
        ) from error
    ids = list(made["input_ids"])
    if not masked:
        return ids, ids
    pairs = zip(ids, made["assistant_masks"], strict=True)
    return ids, [token if kept else IGNORED for token, kept in pairs]


def _ids(texts: list[str], tokenizer: "PreTrainedTokenizerBase", *, special: bool = True) -> list[list[int]]:
    # Not verbose: a text longer than the model's context is no problem, for it is cut into blocks.
    made = tokenizer(texts, add_special_tokens=special, return_attention_mask=False, verbose=False)
    ids: list[list[int]] = made["input_ids"]
    return ids


def _ended(ids: list[int], tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    end = tokenizer.eos_token_id
    return ids if end is None or (ids and ids[-1] == end) else [*ids, end]


def _chat_template(rows: Rows, tokenizer: "PreTrainedTokenizerBase") -> str:
    try:
        template: str = tokenizer.get_chat_template()
    except ValueError as error:
        raise AdvisorError(
            f"{rows.path} holds messages, and the model's tokenizer has no chat template to write them with.",
            why="a base model has none; an instruct model does",
            fix='train the -Instruct model, or write rows of {"prompt": …, "completion": …}',
        ) from error
    return template
