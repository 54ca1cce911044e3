"""Decisions of a bulk operation as plain functions of values: what to split, when to stop, how
many at once. Nothing here waits, calls or keeps time.
"""

from __future__ import annotations

from attrs import define, evolve, field, frozen


def batches_in(items: int, batch_size: int) -> int:
    """Return how many batches so many items make."""
    return -(-items // batch_size)


def over_failure_limit(limit: float | None, failed: int, processed: int, judged_from: int) -> bool:
    """Say whether more items failed than the run tolerates.

    Args:
        limit: An int is a number of items, a float a fraction of those processed, None any.
        failed, processed: Items so far.
        judged_from: A fraction is judged once so many items were processed: of the first three
            items two may fail without meaning much.
    """
    if limit is None:
        return False
    if isinstance(limit, int):
        return failed > limit
    return processed >= judged_from and failed > limit * processed


# --- isolating bad items -------------------------------------------------------------------


@frozen
class Piece:
    """Items `start` to `stop` of a batch.

    `tells`: it is the smaller of two halves, and if it is good the fault is in the other.
    `suspect`: it is that other half.
    """

    start: int
    stop: int
    tells: bool = False
    suspect: bool = False

    @property
    def size(self) -> int:
        return self.stop - self.start


@define
class Bisection:
    """Splits a failed batch of `size` items until those that fail stand alone.

    Ask `next_piece` what to send and report `succeeded` or `failed`; after None every item is in
    exactly one of a good piece and `bad`. An item of a good piece is never in a later one.

    A failed piece is halved and both halves are sent. Where the halves are unequal the smaller
    goes first, and if it is good the larger holds the fault: it is split without being sent whole.
    That keeps the calls for one bad item among n at 2 log2(n), also where n is no power of two;
    for a power of two there are exactly so many.
    """

    size: int
    bad: dict[int, BaseException] = field(factory=dict)
    _waiting: list[Piece] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self._split(Piece(0, self.size))

    def next_piece(self) -> Piece | None:
        """Return what to send next, None when all is known."""
        while self._waiting:
            piece = self._waiting.pop()
            if not piece.suspect or piece.size == 1:
                return piece
            self._split(piece)
        return None

    def succeeded(self, piece: Piece) -> None:
        """Note a good piece."""
        if piece.tells:
            self._waiting[-1] = evolve(self._waiting[-1], suspect=True)

    def failed(self, piece: Piece, error: BaseException) -> None:
        """Note a bad piece; one of several items is split."""
        if piece.size == 1:
            self.bad[piece.start] = error
        else:
            self._split(piece)

    def condemn(self, piece: Piece, error: BaseException) -> None:
        """Count all items of a piece as bad, without a closer look."""
        for index in range(piece.start, piece.stop):
            self.bad[index] = error

    def give_up(self, error: BaseException) -> None:
        """Count all items as bad whose fate is not known yet."""
        while self._waiting:
            self.condemn(self._waiting.pop(), error)

    def _split(self, piece: Piece) -> None:
        middle = piece.start + piece.size // 2
        self._waiting.append(Piece(middle, piece.stop))
        self._waiting.append(Piece(piece.start, middle, tells=piece.size % 2 == 1))


# --- how many at once ----------------------------------------------------------------------


@define
class AdaptiveLimit:
    """Additive increase, multiplicative decrease, as TCP's congestion window.

    A failed attempt halves the limit, down to 1: once for all attempts that were under way when
    it was halved, since they tell of the same overload. `limit` attempts that succeed raise it by
    one, up to the most. It begins at the most.
    """

    most: int
    _window: float = field(init=False)
    _halved_at: float = field(init=False, default=float("-inf"))

    def __attrs_post_init__(self) -> None:
        self._window = float(self.most)

    @property
    def limit(self) -> int:
        """How many batches may be under way."""
        return int(self._window)

    def succeeded(self) -> None:
        """Note an attempt that succeeded."""
        self._window = min(float(self.most), self._window + 1 / self._window)

    def failed(self, started_at: float, now: float) -> None:
        """Note an attempt that began at `started_at` and failed `now`."""
        if started_at >= self._halved_at:
            self._window = max(1.0, self._window / 2)
            self._halved_at = now
