"""Reports as files. What a person wrote under the same name is not replaced."""

from pathlib import Path

from advisor.errors import AdvisorError
from advisor.files import replace_text
from bench.report.markdown import MARK

_MARKED_LETTERS = 200  # the mark stands within so many of the beginning


def write_report(texts: dict[str, str], base: Path) -> list[Path]:
    """Write the texts, by their endings, to `base`; the files written.

    Raises: AdvisorError, before anything is written, where a file is there that no report made, and where the disk is
    full.
    """
    paths = [base.with_name(base.name + ending) for ending in texts]
    for path in paths:
        if path.exists() and not _is_ours(path):
            raise AdvisorError(
                f"{path} exists, and was not made by `advisor report`.",
                fix="give another --output, or move the file away",
            )
    for path, text in zip(paths, texts.values(), strict=True):
        replace_text(path, text)
    return paths


def _is_ours(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as stream:
            return MARK in stream.read(_MARKED_LETTERS)
    except (OSError, UnicodeDecodeError):
        return False
