"""Memory through a run by category: areas on top of each other, the phases below, the peak marked."""

from collections.abc import Sequence
from itertools import groupby

from advisor.pictures.axes import Axis, linear_axis
from advisor.pictures.document import Key
from advisor.pictures.frame import LEFT, Frame, grid
from advisor.pictures.svg import drawing, element, key, label, segment
from advisor.replay.anatomy import Moment
from advisor.units import GIB, gib

# From the ground up: what stays through the run lies below what comes and goes.
CATEGORIES = (
    "parameter",
    "buffer",
    "quantisation state",
    "optimizer state",
    "gradient",
    "activation",
    "logits/loss",
    "workspace",
)
_HEIGHT, _TOP, _BOTTOM = 330.0, 34.0, 272.0
_WIDTHS = {"wide": 760.0, "narrow": 360.0}
_LETTER = 6.2  # units that a letter of a label takes


def memory_drawings(moments: Sequence[Moment], peak_bytes: int, limits: Sequence[tuple[str, int]]) -> str:
    """The course for a wide page and for a phone; the page's style shows the one that suits.

    `peak_bytes` is what the allocator counts: the sum at the highest moment, and a little rounding. `limits` are names and bytes of lines across, such as what the card gives.
    """
    return "".join(_drawn(name, width, moments, peak_bytes, limits) for name, width in _WIDTHS.items())


def category_keys(moments: Sequence[Moment]) -> tuple[Key, ...]:
    """A legend's entries for the categories that are there, the lowest area first."""
    there = [name for name in CATEGORIES if any(moment.category_bytes.get(name) for moment in moments)]
    return tuple(
        key(element("rect", class_=f"area {_class(name)}", x=2, y=2, width=12, height=12), name)
        for name in there
    )


def _drawn(
    name: str, width: float, moments: Sequence[Moment], peak_bytes: int, limits: Sequence[tuple[str, int]]
) -> str:
    frame = _frame(width, moments, limits)
    peak = max(moments, key=lambda moment: moment.allocated_bytes)
    title = "Allocated memory through the run"
    text = f"The peak is {gib(peak_bytes)}, in {peak.phase}."
    return drawing(
        f"course-{name}",
        title,
        text,
        _HEIGHT,
        *_bands(frame, moments),
        *grid(frame),
        *_areas(frame, moments),
        *_limits(frame, limits, moments.index(peak)),
        *_peak(frame, moments, peak, peak_bytes),
        *_phases(frame, moments),
        width=width,
        class_=name,
    )


def _frame(width: float, moments: Sequence[Moment], limits: Sequence[tuple[str, int]]) -> Frame:
    tops = [moment.allocated_bytes / GIB for moment in moments]
    y = linear_axis("GiB", [*tops, *(size / GIB for _, size in limits)])
    x = Axis(title="", low=0, high=len(moments), ticks=())
    return Frame(x=x, y=y, right=width - 10, top=_TOP, bottom=_BOTTOM)


def _areas(frame: Frame, moments: Sequence[Moment]) -> list[str]:
    floor, drawn = [0.0] * len(moments), []
    for name in CATEGORIES:
        sizes = [moment.category_bytes.get(name, 0) / GIB for moment in moments]
        if not any(sizes):
            continue
        top = [low + size for low, size in zip(floor, sizes, strict=True)]
        outline = [*_steps(frame, top), *reversed(_steps(frame, floor))]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in outline)
        told = element("title", f"{name}: at most {gib(max(sizes) * GIB)}")
        drawn.append(element("polygon", told, class_=f"area {_class(name)}", points=points))
        floor = top
    return drawn


def _steps(frame: Frame, values: Sequence[float]) -> list[tuple[float, float]]:
    """Each stretch is flat: it has one highest moment, and nothing is known between two."""
    return [frame.at(place + side, value) for place, value in enumerate(values) for side in (0, 1)]


def _runs(moments: Sequence[Moment]) -> list[tuple[str, int, int]]:
    """Each phase with the stretch where it begins and the one after its last."""
    found, start = [], 0
    for phase, part in groupby(moment.phase for moment in moments):
        end = start + len(list(part))
        found.append((phase, start, end))
        start = end
    return found


def _bands(frame: Frame, moments: Sequence[Moment]) -> list[str]:
    """Every second phase on a darker ground, so that borders are seen above the areas, too."""
    return [
        element(
            "rect",
            class_="band",
            x=frame.across(start),
            y=_TOP,
            width=frame.across(end) - frame.across(start),
            height=_BOTTOM - _TOP,
        )
        for phase, start, end in _runs(moments)[1::2]
    ]


def _phases(frame: Frame, moments: Sequence[Moment]) -> list[str]:
    """The name of each phase where there is room for it, else its first letter."""
    drawn = [segment(LEFT, _BOTTOM, frame.right, _BOTTOM, "rule")]
    for phase, start, end in _runs(moments):
        left, right = frame.across(start), frame.across(end)
        drawn.append(segment(left, _BOTTOM, left, _BOTTOM + 6, "rule"))
        fits = right - left >= _LETTER * len(phase)
        if fits or right - left >= _LETTER:
            words = phase if fits else phase[0].upper()
            drawn.append(label(words, (left + right) / 2, _BOTTOM + 17, anchor="middle"))
    drawn.append(
        label(
            "time, counted in requests to the allocator",
            frame.right,
            _BOTTOM + 38,
            anchor="end",
            class_="axis",
        )
    )
    return drawn


def _limits(frame: Frame, limits: Sequence[tuple[str, int]], peak: int) -> list[str]:
    """Named on the side where the peak is not."""
    drawn = []
    right_half = frame.across(peak) > (LEFT + frame.right) / 2
    x, anchor = (LEFT + 4, "start") if right_half else (frame.right - 3, "end")
    for name, size in limits:
        y = frame.up(size / GIB)
        drawn += [
            segment(LEFT, y, frame.right, y, "limit"),
            label(f"{name}: {gib(size)}", x, y - 4, anchor=anchor, class_="limit-name"),
        ]
    return drawn


def _peak(frame: Frame, moments: Sequence[Moment], peak: Moment, peak_bytes: int) -> list[str]:
    x = frame.across(moments.index(peak) + 0.5)
    right_half = x > (LEFT + frame.right) / 2
    words = f"peak {gib(peak_bytes)}, {peak.phase}"
    return [
        segment(x, _TOP - 8, x, _BOTTOM, "edge"),
        label(
            words,
            x + (-4 if right_half else 4),
            _TOP - 10,
            anchor="end" if right_half else "start",
            class_="number",
        ),
    ]


def _class(category: str) -> str:
    return "c-" + category.replace(" ", "-").replace("/", "-")
