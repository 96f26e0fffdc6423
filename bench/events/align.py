"""Which elements of two long, almost equal sequences belong together: a longest common subsequence, in windows."""

from collections.abc import Hashable, Sequence

_WINDOW = 2000  # elements looked at together; within it the alignment is the best there is
_KEPT = 0.75  # of a window: what lies near its end may yet belong to what comes behind


def aligned(left: Sequence[Hashable], right: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Pairs of indices of equal elements, ascending in both; what is in no pair is in one sequence only."""
    pairs: list[tuple[int, int]] = []
    i = j = 0
    while i < len(left) and j < len(right):
        a, b = left[i : i + _WINDOW], right[j : j + _WINDOW]
        ends = (i + len(a) == len(left), j + len(b) == len(right))
        last = any(ends)
        found = _common(a, b, whole=all(ends))
        if not last:
            limit = int(_WINDOW * _KEPT)
            found = [(x, y) for x, y in found if x < limit and y < limit]
        pairs += [(i + x, j + y) for x, y in found]
        if last:
            break
        ahead = found[-1] if found else (_WINDOW - 1, _WINDOW - 1)
        i, j = i + ahead[0] + 1, j + ahead[1] + 1
    return pairs


def _common(a: Sequence[Hashable], b: Sequence[Hashable], *, whole: bool) -> list[tuple[int, int]]:
    """The pairs on the way with the fewest lone elements to the end of both sequences, if these are `whole`.

    Else to the end of one, for a window cuts them anywhere. E. Myers, An O(ND) difference algorithm, 1986.
    """
    met = all if whole else any
    reached = {1: 0}  # how far along `a` each diagonal x - y is reached
    trail: list[dict[int, int]] = []
    for lone in range(len(a) + len(b) + 1):
        trail.append(dict(reached))
        for k in range(-lone, lone + 1, 2):
            down = k == -lone or (k != lone and reached[k - 1] < reached[k + 1])
            x = reached[k + 1] if down else reached[k - 1] + 1
            while x < len(a) and x - k < len(b) and a[x] == b[x - k]:
                x += 1
            reached[k] = x
            if met((x >= len(a), x - k >= len(b))):
                return _back(trail, x, k)
    return []


def _back(trail: list[dict[int, int]], x: int, k: int) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    for lone in range(len(trail) - 1, -1, -1):
        reached = trail[lone]
        down = k == -lone or (k != lone and reached[k - 1] < reached[k + 1])
        start = 0 if lone == 0 else reached[k + 1] if down else reached[k - 1] + 1
        pairs += [(at, at - k) for at in range(x - 1, start - 1, -1)]
        if lone:
            k = k + 1 if down else k - 1
            x = reached[k]
    return pairs[::-1]
