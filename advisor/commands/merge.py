"""`advisor merge`: a run's adapter and its base, as one model."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from advisor.units import gib

EPILOG = "advisor merge run -o merged  |  advisor merge run --model ./llama -o merged"
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def merge_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `advisor run --output` named.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A folder for the merged model.")],
    model: Annotated[
        str | None,
        typer.Option(help="The base: a folder or a hub name. Default: the one that was trained on."),
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace an existing folder.")] = False,
) -> None:
    """Merge a run's adapter into its base weights, on the CPU, and check that the whole loads and writes."""
    from advisor.train.merge import merge

    made = merge(
        folder,
        output,
        base=model,
        force=force,
        tell=lambda note: err.print(note, markup=False, soft_wrap=True),
    )
    out.print(
        f"merged: {output}; loaded again, its logits are {made.apart:.2%} from base and adapter apart",
        soft_wrap=True,
    )
    out.print(f"main memory: planned {gib(made.plan.peak_bytes)}, it rose by {gib(made.rose_bytes)}")
    out.print(f"it writes: {made.text!r}", markup=False, soft_wrap=True)
