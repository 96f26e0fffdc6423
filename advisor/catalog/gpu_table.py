"""`gpus.toml` as records, each number with the full text of its source."""

import tomllib
from pathlib import Path
from typing import Any

from advisor.records import GpuSpec

_FILE = Path(__file__).with_name("gpus.toml")
_CONFIDENCE = ", confidence "  # ends the text of every source


def read_gpus() -> tuple[GpuSpec, ...]:
    """Every card, in the file's order."""
    document = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return tuple(_card(slug, row, document) for slug, row in document["gpus"].items())


def confidence(gpu: GpuSpec, field: str) -> str:
    """How sure the field is: high, medium or low."""
    return gpu.sources[field].rpartition(_CONFIDENCE)[2].removesuffix(")")


def _card(slug: str, row: dict[str, Any], document: dict[str, Any]) -> GpuSpec:
    facts = {name: value for name, value in row.items() if name != "sources"}
    facts["compute_capability"] = tuple(facts["compute_capability"])
    facts["aliases"] = tuple(facts.get("aliases", ()))
    return GpuSpec(slug=slug, **facts, sources=_sources(row["sources"], document))


def _sources(own: dict[str, str], document: dict[str, Any]) -> dict[str, str]:
    told = document["default_sources"] | own
    told["context_uncertainty_bytes"] = told["context_bytes"]
    return {field: _full_text(short, document["sources"]) for field, short in told.items()}


def _full_text(short: str, texts: dict[str, dict[str, str]]) -> str:
    """`high torch: 16269 MiB` with the text and the date of `torch`."""
    sure, _, rest = short.partition(" ")
    name, colon, detail = rest.partition(": ")
    source = texts[name]
    return f"{source['text']}{colon}{detail} ({source['date']}{_CONFIDENCE}{sure})"
