"""A model's tokenizer without transformers' classes: `tokenizer.json`, its settings, and its chat template."""

import json
from pathlib import Path
from typing import Any

from advisor.errors import AdvisorError

_FILE, _SETTINGS, _TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
_LARGEST_BYTES = 256 << 20  # the largest known tokenizer.json takes 35 MB


class LocalTokenizer:
    """What `train.tokens.encoded` asks of a tokenizer, answered by the `tokenizers` library.

    A test holds it against transformers' own class. Limit: a class that overrides its tokenizer.json (an
    `add_bos_token` set by hand) may give one token more or less an example.
    """

    def __init__(self, folder: Path) -> None:
        """Read the folder's files.

        Raises: AdvisorError where one can't be read.
        """
        from tokenizers import Tokenizer

        self.folder = folder
        try:
            self._core = Tokenizer.from_str(_read(folder / _FILE))
        except Exception as error:  # tokenizers raises Exception itself
            if isinstance(error, AdvisorError):
                raise
            raise AdvisorError(f"{folder / _FILE} is not a tokenizer.", why=str(error)) from error
        self._settings = _settings(folder / _SETTINGS)
        self.vocabulary: int = self._core.get_vocab_size()
        self.eos_token_id: int | None = self._id_of("eos_token")

    def __call__(
        self, texts: list[str], *, add_special_tokens: bool, **_quiet: bool
    ) -> dict[str, list[list[int]]]:
        """Token ids of each text."""
        made = self._core.encode_batch(texts, add_special_tokens=add_special_tokens)
        return {"input_ids": [each.ids for each in made]}

    def get_chat_template(self) -> str:
        """The template that writes messages.

        Raises: ValueError where there is none, as transformers does.
        """
        file = self.folder / _TEMPLATE
        if file.is_file():
            return _read(file)
        found = self._settings.get("chat_template")
        if isinstance(found, list):  # several by name, as some models have
            found = next((each["template"] for each in found if each.get("name") == "default"), None)
        if not isinstance(found, str):
            raise ValueError("no chat template")  # noqa: TRY004 - as transformers does
        return found

    def apply_chat_template(
        self, turns: list[dict[str, str]], *, return_dict: bool, return_assistant_tokens_mask: bool
    ) -> dict[str, list[int]]:
        """The conversation as ids, and 1 for each that the template marks as the assistant's.

        transformers' own renderer writes it, in its sandbox: a template is someone else's program.
        """
        from transformers.utils.chat_template_utils import render_jinja_template

        assert return_dict
        render: Any = render_jinja_template  # its types name one result of several
        written, marked = render(
            conversations=[turns],
            chat_template=self.get_chat_template(),
            return_assistant_tokens_mask=return_assistant_tokens_mask,
            **self._special_tokens(),
        )
        made = self._core.encode(written[0], add_special_tokens=False)
        mask = [0] * len(made.ids)
        for start, end in marked[0] if return_assistant_tokens_mask else ():
            first, last = made.char_to_token(start), made.char_to_token(end - 1)
            if first is not None:
                stop = len(mask) if last is None else last + 1
                mask[first:stop] = [1] * (stop - first)
        return {"input_ids": made.ids, "assistant_masks": mask}

    def _special_tokens(self) -> dict[str, str]:
        names = ("bos_token", "eos_token", "pad_token", "unk_token")
        return {name: token for name in names if (token := self._token(name))}

    def _token(self, name: str) -> str | None:
        """A token is its text, or an object that has it as its content."""
        found = self._settings.get(name)
        found = found.get("content") if isinstance(found, dict) else found
        return found if isinstance(found, str) else None

    def _id_of(self, name: str) -> int | None:
        token = self._token(name)
        return None if token is None else self._core.token_to_id(token)


def find_tokenizer(asked: str | None, model: str | None, hub_name: str) -> LocalTokenizer | None:
    """The tokenizer that was asked for, else the model's where it lies here; None where it does not.

    Raises: AdvisorError where the one asked for is not there.
    """
    if asked is not None:
        folder = _folder(Path(asked))
        if folder is None:
            raise AdvisorError(
                f"There is no tokenizer at {asked}.",
                why=f"no {_FILE} lies there",
                fix=f"give a {_FILE}, or the folder of a model that has one",
            )
        return LocalTokenizer(folder)
    beside = _folder(Path(model)) if model is not None else None
    folder = beside or (_cached(hub_name) if hub_name else None)
    return None if folder is None else LocalTokenizer(folder)


def _folder(path: Path) -> Path | None:
    """Where the tokenizer of a model folder, or beside a config.json, lies."""
    folder = path if (path / _FILE).is_file() else path.parent
    named = path.name in (_FILE, "config.json") or folder == path
    return folder if named and (folder / _FILE).is_file() else None


def _cached(hub_name: str) -> Path | None:
    """Where the hub's cache on this machine has it; nothing is fetched."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_name, _FILE)
    return Path(found).parent if isinstance(found, str) else None


def _settings(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        found = json.loads(_read(file))
    except (ValueError, RecursionError) as error:
        raise AdvisorError(f"{file} is not JSON.", why=str(error)) from error
    return found if isinstance(found, dict) else {}


def _read(file: Path) -> str:
    try:
        if file.stat().st_size > _LARGEST_BYTES:
            raise AdvisorError(f"{file} is too large.", why=f"more than {_LARGEST_BYTES >> 20} MiB")
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AdvisorError(f"Can't read {file}.", why=str(error)) from error
