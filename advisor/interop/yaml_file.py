"""Reads a YAML or JSON file that someone else wrote: plain values only, bounded in size, depth and aliases."""

import json
from pathlib import Path
from typing import Any

from advisor.errors import AdvisorError

_LARGEST_BYTES = 128 << 10  # a training config is a few kilobytes; PyYAML reads about 100 KiB a second
_MOST_VALUES = 20_000  # with every alias written out: what an alias bomb grows to
_PLAIN = {
    f"tag:yaml.org,2002:{kind}"
    for kind in ("null", "bool", "int", "float", "str", "timestamp", "merge", "seq", "map")
}
_FIX = "give a training config of trl, axolotl or LLaMA-Factory, or a plan file"


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in the file, its keys as text; no tags, no key twice, aliases only as far as they stay small.

    Raises: AdvisorError where the file can't be read, is too large or is not a mapping.
    """
    return parse_mapping(_content(path), str(path))


def parse_mapping(content: bytes, name: str) -> dict[str, Any]:
    """As `read_mapping`, of bytes; `name` is what errors call them."""
    try:
        text = content.decode("utf-8-sig")
        found = (
            json.loads(text, object_pairs_hook=_once)
            if text.lstrip().startswith("{")
            else _parsed(text, name)
        )
    except UnicodeDecodeError as error:
        raise AdvisorError(f"{name} is not UTF-8 text.", why=error.reason, fix=_FIX) from error
    except json.JSONDecodeError:
        found = _parsed(text, name)  # a flow mapping of YAML begins like JSON
    except (ValueError, RecursionError) as error:
        raise _refused(name, _short(error)) from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise AdvisorError(f"{name} holds no mapping of names to values.", fix=_FIX)
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise AdvisorError(f"There is no file {path}.", fix=_FIX)
        with path.open("rb") as opened:
            content = opened.read(_LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise AdvisorError(f"Can't read {path}.", why=_short(error), fix=_FIX) from error
    if len(content) > _LARGEST_BYTES:
        raise AdvisorError(f"{path} is larger than 128 KiB.", why="a training config is smaller", fix=_FIX)
    return content


def _parsed(text: str, name: str) -> Any:
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return None
        _check(node, name)
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise _refused(f"{name}{line}", error.problem or "not YAML") from error
    # Its constructors raise these where a scalar only looks like a number or a date.
    except (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise _refused(name, _short(error)) from error
    except RecursionError as error:
        raise _refused(name, "it nests too deeply") from error


def _check(root: Any, name: str) -> None:
    """Refuse tags, keys that stand twice, and more values than a config has, aliases written out."""
    sizes: dict[int, int] = {}  # of nodes that are done
    _size(root, name, sizes, set())


def _size(node: Any, name: str, sizes: dict[int, int], above: set[int]) -> int:
    import yaml

    if id(node) in sizes:
        return sizes[id(node)]
    if id(node) in above:
        raise _refused(name, "an alias holds itself")
    if node.tag not in _PLAIN:
        raise _refused(name, f"the tag {node.tag!r} is not plain data")
    total = 1
    if not isinstance(node, yaml.ScalarNode):
        above.add(id(node))
        if isinstance(node, yaml.MappingNode):
            _refuse_twice(node, name)
        children = (part for item in node.value for part in (item if isinstance(item, tuple) else (item,)))
        for child in children:
            total += _size(child, name, sizes, above)
            if total > _MOST_VALUES:
                raise _refused(name, f"its aliases stand for more than {_MOST_VALUES:,} values")
        above.discard(id(node))
    sizes[id(node)] = total
    return total


def _refuse_twice(node: Any, name: str) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        text = str(key.value)
        if text in seen:
            raise _refused(f"{name}, line {key.start_mark.line + 1}", f"the key {text[:60]!r} stands twice")
        seen.add(text)


def _refused(name: str, why: str) -> AdvisorError:
    return AdvisorError(f"{name} can't be read as a config.", why=why, fix=_FIX)


def _short(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0][:200]
