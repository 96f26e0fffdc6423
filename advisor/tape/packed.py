"""A small file: a header in JSON and a column of small numbers, compressed together.

Layout: magic, one byte of schema, then an XZ stream (which carries a checksum) of: the header's length in four
bytes, the header, the numbers in two bytes each. Little-endian throughout.
"""

import json
import lzma
import sys
from array import array
from collections.abc import Sequence
from typing import Any

LARGEST_NUMBER = (1 << 16) - 1
_LARGEST_CONTENT_BYTES = 16 << 20  # a tape of a pattern of 26 layers has 0.3 MB
_LARGEST_DICTIONARY_BYTES = 64 << 20  # what unpacking may take for XZ's own use
# No literal context: two-byte numbers have none; chosen on tapes, as is the depth of the search.
_FILTERS = [
    {
        "id": lzma.FILTER_LZMA2,
        "preset": 9 | lzma.PRESET_EXTREME,
        "lc": 0,
        "lp": 1,
        "pb": 1,
        "dict_size": 1 << 20,
    }
]


class NewerSchemaError(ValueError):
    """The file was written by a newer version of the program."""


def pack(magic: bytes, schema: int, header: dict[str, Any], numbers: Sequence[int]) -> bytes:
    """The file's bytes; the same for the same content."""
    text = json.dumps(header, separators=(",", ":")).encode()
    content = len(text).to_bytes(4, "little") + text + _swapped(array("H", numbers)).tobytes()
    return magic + bytes([schema]) + lzma.compress(content, check=lzma.CHECK_CRC32, filters=_FILTERS)


def unpack(magic: bytes, schema: int, data: bytes) -> tuple[dict[str, Any], Sequence[int]]:
    """The header and the numbers of a file of this schema.

    Raises: ValueError where the bytes are not such a file; NewerSchemaError where they are of a later one.
    """
    if not data.startswith(magic) or len(data) <= len(magic):
        raise ValueError("it does not begin as such a file does")
    found = data[len(magic)]
    if found > schema:
        raise NewerSchemaError(f"its schema is {found}, this version reads {schema}")
    if found < schema:
        raise ValueError(f"its schema is {found}, this version reads {schema}")
    content = _content(data[len(magic) + 1 :])
    end = 4 + int.from_bytes(content[:4], "little")
    if end > len(content) or (len(content) - end) % 2:
        raise ValueError("its lengths do not agree")
    header = json.loads(content[4:end])
    if not isinstance(header, dict):
        raise ValueError("its header is no object")  # noqa: TRY004 - the file is wrong, not the caller
    return header, _swapped(array("H", content[end:]))


def _content(compressed: bytes) -> bytes:
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LARGEST_DICTIONARY_BYTES)
    try:
        content = decompressor.decompress(compressed, _LARGEST_CONTENT_BYTES)
    except (lzma.LZMAError, EOFError) as error:
        raise ValueError(f"it can't be decompressed: {error}") from error
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError("it is cut off, or larger than any such file")
    return content


def _swapped(numbers: "array[int]") -> "array[int]":
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
