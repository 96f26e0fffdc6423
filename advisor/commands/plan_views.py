"""What `advisor plan` and `advisor models` show beside the plan itself."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from advisor.catalog.gpus import usable_bytes
from advisor.plan.cards import OnCard
from advisor.plan.document import Plan, Point
from advisor.plan.duration import Duration
from advisor.plan.largest import OfModel
from advisor.plan.words import shape_words
from advisor.terminal import columns, heading
from advisor.units import GIB, gib, seconds

_MOST_POINTS = 8
_MOST_CARDS = 12


def front_view(plan: Plan) -> RenderableType:
    """What else is worth choosing: nothing that was looked at beats one of these in memory, speed and worth."""
    table = columns("left", "left", "right", "right", "right", "left")
    table.add_row("", "", "needs GiB", "tokens/s", "worth", "", style="dim")
    for point in _thinned(plan.front):
        style = "bold" if point.chosen else ""
        table.add_row(
            f"  {point.label}",
            shape_words(point.config),
            f"{'≥ ' if point.lower_bound else ''}{point.needed_bytes / GIB:.2f}",
            f"{point.tokens_per_second:,.0f}",
            f"{point.worth:.2f}",
            "← the plan" if point.chosen else "",
            style=style,
        )
    title = f"Best of {plan.examined} for some memory, speed and worth (--goal {plan.goal}; docs/search.md)"
    return Group(heading(title), table)


def _thinned(points: Sequence[Point]) -> list[Point]:
    """The chosen one and as many others, spread over the front."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    step = (len(points) - 1) / (_MOST_POINTS - 1)
    kept = {round(n * step) for n in range(_MOST_POINTS)}
    return [point for n, point in enumerate(points) if point.chosen or n in kept]


def duration_view(took: Duration) -> RenderableType:
    """Time and energy of what is to be trained."""
    table = columns("left", "right", "left")
    low, high = seconds(took.seconds.low), seconds(took.seconds.high)
    table.add_row("  time", Text(seconds(took.seconds.value), "bold"), f"90 %: {low} to {high}")
    energy = "unknown" if took.energy_kwh is None else f"{took.energy_kwh:.2f} kWh"
    table.add_row("  energy", Text(energy, "bold"), f"of the card alone; {took.energy_basis}")
    return Group(heading(f"{took.tokens:,} tokens, {took.steps:,} steps"), table)


def compared_view(mine: Plan, other: Plan) -> RenderableType:
    """What the other card would change."""
    table = columns("left", "left", "left")
    table.add_row("", mine.card.name, other.card.name, style="dim")
    theirs = {choice.name: choice.value for choice in other.choices}
    for choice in mine.choices:
        value = theirs.get(choice.name, "-")
        style = "bold" if value != choice.value else "dim"
        table.add_row(f"  {choice.name}", choice.value, Text(value, style))
    speeds = [_speed(plan) for plan in (mine, other)]
    table.add_row("  tokens/s", *(f"{speed:,.0f}" for speed in speeds))
    table.add_row("  gives", gib(mine.card.usable_bytes), gib(other.card.usable_bytes))
    table.add_row("  needs", *(gib(plan.estimate.peak_reserved_bytes.value) for plan in (mine, other)))
    gain = f"{speeds[1] / speeds[0] - 1:+.0%} tokens/s, " if speeds[0] else ""
    room = other.card.usable_bytes - mine.card.usable_bytes
    sign = "+" if room >= 0 else "-"
    title = f"{other.card.name} instead of {mine.card.name}: {gain}{sign}{gib(abs(room))}"
    return Group(heading(title), table)


def _speed(plan: Plan) -> float:
    return next(point.tokens_per_second for point in plan.front if point.chosen)


def cards_view(
    model: str,
    will_do: Sequence[OnCard],
    answers: Sequence[OnCard],
    currency: str,
    deadline_seconds: float | None,
) -> RenderableType:
    """The cards that will do, the cheapest or smallest first, and how many will not."""
    table = columns("left", "right", "left", "left", "right", "right", "right", "right")
    cost = f"cost {currency}".strip()
    table.add_row("", "gives GiB", "", "", "tokens/s", "time", "energy", cost, style="dim")
    for card in will_do[:_MOST_CARDS]:
        assert card.found is not None
        took = card.took
        table.add_row(
            f"  {card.gpu.slug}",
            f"{usable_bytes(card.gpu) / GIB:.2f}",
            card.found.lane.label,
            shape_words(card.found.config),
            f"{card.found.tokens_per_second:,.0f}",
            "-" if took is None else seconds(took.seconds.value),
            "-" if took is None or took.energy_kwh is None else f"{took.energy_kwh:.2f} kWh",
            "-" if card.cost is None else f"{card.cost:,.2f}",
        )
    by = "cheapest" if any(card.cost is not None for card in will_do) else "smallest"
    small = sum(card.found is None for card in answers)
    slow = len(answers) - small - len(will_do)
    rest = [f"{small} of {len(answers)} cards do not hold it"] if small else []
    if deadline_seconds is not None:
        rest.append(f"{slow} are too slow for {seconds(deadline_seconds)}, at the upper end of the range")
    if len(will_do) > _MOST_CARDS:
        rest.append(f"{len(will_do) - _MOST_CARDS} more will do (--json has all)")
    head = Text(f"{model}: the {by} card first" if will_do else f"{model}: no card will do", "bold")
    return Group(head, table, Text("; ".join(rest), "dim"))


def largest_view(gpu: str, answers: Iterable[OfModel]) -> RenderableType:
    """Every model, the largest first, and whether the card trains it."""
    table = columns("left", "right", "left", "left", "right", "right")
    table.add_row("", "parameters", "", "", "needs GiB", "tokens/s", style="dim")
    largest = ""
    for one in answers:
        if one.fits and not largest:
            largest = one.model.name
        fits = {True: "yes", False: "no", None: "?"}[one.fits]
        config = "" if one.found is None else shape_words(one.found.config)
        speed = "" if one.found is None else f"{one.found.tokens_per_second:,.0f}"
        table.add_row(
            f"  {one.model.name}",
            f"{one.model.parameters / 1e9:,.2f} B",
            Text(fits, {"yes": "green", "no": "red", "?": "dim"}[fits]),
            f"{one.how} {config}".strip(),
            f"{'' if one.found and one.found.exact else '≥ '}{one.needed_bytes / GIB:.2f}",
            speed,
        )
    head = f"The largest that {gpu} trains is {largest}" if largest else f"{gpu} trains none of these"
    return Group(Text(head, "bold"), table)
