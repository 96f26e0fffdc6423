"""The two corpora as JSON Lines, from unpacked Debian packages whose bytes are checked first.

`python -m advisor.demo.corpus pretraining unpacked corpus`
`python -m advisor.demo.corpus finetuning unpacked advisor/demo/data`
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from advisor.demo import DEMO_FOLDER, jargon, wordnet
from advisor.errors import AdvisorError, ExitCode

app = typer.Typer(add_completion=False, help=__doc__)
Folder = Annotated[Path, typer.Argument(exists=True, file_okay=False)]


@app.command()
def pretraining(unpacked: Folder, output: Path) -> None:
    """Write WordNet's dictionary lines to `output`/train.jsonl and heldout.jsonl."""
    check_source("wordnet", unpacked)
    lines = list(wordnet.dictionary_lines(unpacked / "usr/share/wordnet"))
    heldout = [text for index, text in enumerate(lines) if wordnet.is_heldout(index)]
    train = [text for index, text in enumerate(lines) if not wordnet.is_heldout(index)]
    write_split(output, train=train, heldout=heldout)


@app.command()
def finetuning(unpacked: Folder, output: Path) -> None:
    """Write the Jargon File's entries to `output`/train.jsonl and heldout.jsonl."""
    check_source("jargon", unpacked)
    texts = list(jargon.entries(unpacked / "usr/share/dictd/jargon.dict.dz"))
    heldout = [text for text in texts if jargon.is_heldout(text)]
    train = [text for text in texts if not jargon.is_heldout(text)]
    write_split(output, train=train, heldout=heldout)


def check_source(name: str, unpacked: Path) -> None:
    """Nothing, where each raw file is the very file that `sources.json` names.

    Raises: AdvisorError where a file is missing or has other bytes.
    """
    source = json.loads((DEMO_FOLDER / "sources.json").read_text())["sources"][name]
    fix = f"apt-get download {source['package']}={source['version']}, then dpkg -x it there"
    for relative, expected in source["files"].items():
        path = unpacked / relative
        if not path.is_file():
            raise AdvisorError(f"{path} is missing.", fix=fix, exit_code=ExitCode.ENVIRONMENT)
        if sha256_of(path) != expected:
            raise AdvisorError(
                f"{path} is not the file of {source['package']} {source['version']}.",
                why="its SHA-256 differs from the one in sources.json",
                fix=fix,
                exit_code=ExitCode.ENVIRONMENT,
            )


def write_split(folder: Path, *, train: Iterable[str], heldout: Iterable[str]) -> None:
    """Write both halves of a corpus as `{"text": …}` lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, texts in (("train", train), ("heldout", heldout)):
        rows = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
        (folder / f"{name}.jsonl").write_text("".join(rows), encoding="utf-8")


def read_texts(path: Path) -> Iterator[str]:
    """The texts of one JSON Lines file, in order."""
    for line in path.read_text(encoding="utf-8").split("\n"):  # splitlines would cut at U+2028
        if line:
            yield json.loads(line)["text"]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    app()
