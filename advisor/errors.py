"""The one error type that a user sees: what happened, why, and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process says to the shell; documented in `docs/cli.md`."""

    DONE = 0
    NO = 1  # the answer is no: nothing fits, a row failed, a gate failed
    USAGE = 2  # an unknown name, a bad value, a file that does not parse
    ENVIRONMENT = 3  # no GPU, a missing package, an unreadable store, a full disk
    INTERRUPTED = 130


class AdvisorError(Exception):
    """A problem that the user can act on; caught once, in `advisor.cli`."""

    def __init__(
        self, what: str, *, why: str = "", fix: str = "", exit_code: ExitCode = ExitCode.USAGE
    ) -> None:
        """Keep the three sentences apart, so that each front end can lay them out."""
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix
        self.exit_code = exit_code

    def __str__(self) -> str:
        """The message as a terminal shows it."""
        lines = [self.what]
        if self.why:
            lines.append(f"  why: {self.why}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


def unknown_name(kind: str, name: str, known: Iterable[str], *, fix: str) -> AdvisorError:
    """The error for a name that is not in a list, with the nearest names that are."""
    names = sorted(known)
    near = get_close_matches(name.lower(), names, n=4, cutoff=0.4) or names[:6]
    return AdvisorError(f"Unknown {kind} {name!r}.", why=f"nearest known: {', '.join(near)}", fix=fix)
