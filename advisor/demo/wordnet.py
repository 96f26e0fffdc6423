"""Dictionary lines from the raw `data.*` files of WordNet 3.0; the format is `wndb(5WN)`."""

from collections.abc import Iterator
from pathlib import Path

# The files in the order of the corpus, and the name of a part of speech as a dictionary prints it.
DATA_FILES = ("data.noun", "data.verb", "data.adj", "data.adv")
PART_OF_SPEECH = {"n": "noun", "v": "verb", "a": "adjective", "s": "adjective", "r": "adverb"}

# Neighbours in the file are near in meaning, so whole runs are held out, not single lines.
RUN_LINES = 50
HELDOUT_EVERY_RUNS = 60


def dictionary_lines(folder: Path) -> Iterator[str]:
    """One line a synset: `haze (noun): atmospheric moisture … visibility. Example: …`."""
    for name in DATA_FILES:
        for line in (folder / name).read_text(encoding="utf-8").splitlines():
            if not line.startswith("  "):  # the licence, indented, opens each file
                yield render_synset(line)


def render_synset(line: str) -> str:
    """The dictionary line of one synset line."""
    fields, _, gloss = line.partition(" | ")
    parts = fields.split(" ")
    word_count = int(parts[3], base=16)
    words = [plain_word(word) for word in parts[4 : 4 + 2 * word_count : 2]]
    definition, examples = split_gloss(gloss.strip())
    head = f"{', '.join(words)} ({PART_OF_SPEECH[parts[2]]}): {definition}."
    return f"{head} Example: {'; '.join(examples)}." if examples else head


def plain_word(word: str) -> str:
    """`hot_dog` as `hot dog`, and `galore(ip)` without the mark of its position."""
    return word.partition("(")[0].replace("_", " ")


def split_gloss(gloss: str) -> tuple[str, list[str]]:
    """The definition, and the examples without their quotation marks."""
    definition, *examples = gloss.split('; "')
    return definition.rstrip(" ;."), [text.strip(' ";.') for text in examples]


def is_heldout(index: int) -> bool:
    """Whether the line of this index is kept out of the training."""
    return index // RUN_LINES % HELDOUT_EVERY_RUNS == HELDOUT_EVERY_RUNS - 1
