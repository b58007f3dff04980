"""What reads a sequence of bytes that comes in pieces: its literal forms, its windows, and what is compressed within it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ebbgate.secrets import decode, inflate, views
from ebbgate.secrets.automaton import SHORTEST_OPEN, Hit, first_of_each
from ebbgate.secrets.beginnings import (
    GUESSED,
    LONGEST_MAGIC,
    MIN_GUESSED,
    beginnings,
    compressed_at,
    is_compressed,
    unreadable,
)
from ebbgate.secrets.finding import Finding, Place

if TYPE_CHECKING:
    from ebbgate.secrets.scanner import Scanner

WINDOW = 1 << 17  # bytes of a stream that are decoded together, and held until then
OVERLAP = 1 << 15  # bytes before a window that are decoded with it again; an encoded secret is shorter
MAX_TEXT = 1 << 20  # bytes of text that are decoded of one stream, at 5 MB/s: as many as of a body that is held as a whole
MAX_DISGUISED = 4 << 20  # bytes of one stream in which rare forms, XOR keys and separators are looked for, at 100 MB/s
MAX_NESTED = 5  # compressed streams within each other
MAX_TRIES = 1 << 16  # beginnings of compressed streams that are tried in one stream, and that may be saved up
BYTES_A_TRY = 1 << 12  # of a stream, that allow for one more; in bytes without meaning 16 kB seem to begin one
PROBE = 512  # bytes that are tried to see whether something is compressed as it seems
MAX_PROBED = 64 << 20  # bytes that they may make
MIN_GUESSED_INPUT = 48  # bytes from which brotli and raw deflate can be told
EXPANSION = 64  # expanded bytes, of all levels, for a byte of a stream; each level of honest data makes less than 30 of one
MAX_EXPANSION = 128 << 20  # expanded bytes that may be saved up, for zeros in images: 1.5 s of reading, when nothing else goes on
INTERACTIVE_STEP = 256  # bytes after which an interactive stream is decoded again
INTERACTIVE_OVERLAP = 1 << 12


class Common:
    """What the readers of one stream share."""

    def __init__(self, scanner: Scanner, place: Place, *, interactive: bool) -> None:
        self.scanner, self.place, self.interactive = scanner, place, interactive
        self.text_left = MAX_TEXT
        self.disguised_left = MAX_DISGUISED
        self.tries_left: float = MAX_TRIES
        self.expansion_left = MAX_EXPANSION
        self.findings: list[Finding] = []
        self.uninspected = ""
        self._reported: set[str] = set()

    def report(self, finding: Finding) -> None:
        """Once for each secret."""
        if finding.secret not in self._reported:
            self._reported.add(finding.secret)
            self.findings.append(finding)

    def pay_for_text(self, size: int) -> None:
        """Text is decoded up to a bound."""
        self.text_left -= size
        if self.text_left <= 0:
            self.note("decode budget")

    def allow_for(self, size: int) -> None:
        """Bytes of the stream came: so much more may be expanded and tried."""
        self.tries_left = min(MAX_TRIES, self.tries_left + size / BYTES_A_TRY)
        self.expansion_left = min(MAX_EXPANSION, self.expansion_left + EXPANSION * size)

    def pay_for_expansion(self, size: int) -> bool:
        """Whether expanding may go on. Streams without number may be in one, each within its own bounds."""
        self.expansion_left -= size
        if self.expansion_left <= 0:
            self.note("decode budget")
        return self.expansion_left > 0

    def note(self, reason: str) -> None:
        """Why some of it is not read."""
        self.uninspected = self.uninspected or reason


class Reader:
    """Reads one sequence of bytes. clear: how many of them may leave as far as this reader is concerned."""

    def __init__(self, common: Common, encodings: tuple[str, ...] = (), origin: int = 0, *, looks_within: bool = True) -> None:
        """:param origin: offset in the stream as sent of what this is read from."""
        self._common, self._encodings, self._origin = common, encodings, origin
        self.total = 0
        self._tail = b""  # the last bytes, which are searched for literal forms again
        self.literal_clear = 0
        self._window = bytearray()  # OVERLAP bytes, and what came since the last window
        self._window_end = 0
        self._fresh = 0  # bytes of the window that have not been decoded
        self._within = _Within(common, encodings, origin) if looks_within and len(encodings) < MAX_NESTED else None

    @property
    def clear(self) -> int:
        """Bytes from the beginning."""
        decoded = self.total if self._common.interactive or self._common.text_left <= 0 else self.total - self._fresh
        within = self.total if self._within is None else self._within.clear
        return min(self.literal_clear, decoded, within)

    def feed(self, data: bytes) -> None:
        """Take what comes next."""
        self._search(data)
        self.total += len(data)
        if self._common.text_left > 0:
            self._collect(data)
        if self._within is not None:
            self._within.feed(data)
        elif len(self._encodings) >= MAX_NESTED and self.total == len(data) and is_compressed(data):
            self._common.note(decode.TOO_DEEP)

    def finish(self) -> None:
        """Nothing comes any more."""
        self.literal_clear = self.total
        if self._fresh and self._common.text_left > 0:
            self._decode()
        if self._within is not None:
            self._within.finish()

    def _search(self, data: bytes) -> None:
        literal = self._common.scanner.compiled.literal
        text = self._tail + data
        start = self.total - len(self._tail)
        hits, cut_off = literal.search(text)
        for hit in first_of_each(hits):
            self._report(hit, self._encodings, start + hit.start)
        held = literal.opening(text) if self._common.interactive else min(len(text), max(0, literal.longest_head - 1))
        open_from = min(cut_off, len(text) - held)
        self.literal_clear = start + open_from
        # What is open to a few bytes has left; it is remembered, so that a secret sent byte by byte is seen as one.
        self._tail = text[max(0, min(open_from, len(text) - SHORTEST_OPEN + 1)) :]

    def _report(self, hit: Hit, encodings: tuple[str, ...], offset: int) -> None:
        common = self._common
        place = self._origin if self._encodings else offset
        common.report(common.scanner.finding(common.scanner.compiled, hit, common.place, encodings, place))

    def _collect(self, data: bytes) -> None:
        """Cut into windows whose ends do not depend on how the data came."""
        step = INTERACTIVE_STEP if self._common.interactive else WINDOW
        at = 0
        while at < len(data):
            piece = data[at : at + WINDOW - self._fresh]
            self._window += piece
            self._window_end += len(piece)
            self._fresh += len(piece)
            at += len(piece)
            if self._fresh >= step:
                self._decode()

    def _decode(self) -> None:
        common, window = self._common, bytes(self._window)
        compiled, start = common.scanner.compiled, self._window_end - len(window)
        if common.disguised_left > 0:
            common.disguised_left -= self._fresh
            for hit, known in compiled.disguised(window):
                self._report(hit, self._encodings, start + hit.start if known else -1)
        root = views.View(window)
        text = views.text_of(root)
        common.pay_for_text(0 if text is None else min(len(text.data), self._fresh))
        self._decode_text(root, text, start)
        self._fresh = 0
        del self._window[: -(INTERACTIVE_OVERLAP if common.interactive else OVERLAP)]

    def _decode_text(self, root: views.View, text: views.View | None, start: int) -> None:
        common = self._common
        budget = views.new_budget(len(root.data))
        for view in decode.views_of_part(root, text, budget):
            for finding in common.scanner.in_view(common.scanner.compiled, view, common.place, start):
                offset = self._origin if self._encodings else finding.offset
                common.report(replace(finding, encodings=(*self._encodings, *finding.encodings), offset=offset))
        if budget.uninspected:
            common.note(budget.uninspected)


class _Within:
    """Finds what is compressed in a sequence of bytes, and has it read. One at a time; the next is looked for at its end."""

    def __init__(self, common: Common, encodings: tuple[str, ...], origin: int, depth: int = 0) -> None:
        """:param depth: header fields of archive members that this is read from, within each other."""
        self._common, self._encodings, self._origin = common, encodings, origin
        self._depth = depth
        self._waiting = b""  # what may begin something, once more of it is here
        self._total = 0
        self._inner: Inner | None = None
        # What has no first bytes, and can be told at the beginning only.
        self._untried: tuple[str, ...] = () if depth else GUESSED
        self._is_whole = False

    @property
    def clear(self) -> int:
        """As ``Reader.clear``."""
        if self._inner is not None:
            return self._inner.clear
        return self._total - (len(self._waiting) if self._untried and not self._common.interactive else 0)

    def feed(self, data: bytes) -> None:
        """Take what comes next."""
        self._total += len(data)
        data, self._waiting = self._waiting + data, b""
        at = 0
        while at < len(data):
            if self._inner is None:
                at = self._begin(data, at)
            else:
                at += self._inner.feed(data, at)
                if self._inner.ended:
                    again = self._inner.again
                    data, at = again[: max(0, len(again) - at)] + data, max(0, at - len(again))
                    self._end()

    def finish(self) -> None:
        """Nothing comes any more."""
        self._is_whole = True
        if self._untried and self._waiting:
            self.feed(b"")
        if self._inner is not None:
            self._end()

    def _end(self) -> None:
        if self._inner is not None:
            self._inner.finish()
            if not self._inner.is_mistaken:
                self._untried = ()
        self._inner = None

    def _begin(self, data: bytes, at: int) -> int:
        """Look for a beginning; the offset from which to go on, with ``_inner`` set or not."""
        if self._untried:
            self._guess(data)
            if self._inner is not None:
                return 0
            if self._untried:
                self._waiting = data
                return len(data)
        for begin, kind in beginnings(data, at):
            found = compressed_at(data, begin, kind)
            if found is None:
                self._waiting = data[begin:]
                return len(data)
            self._common.tries_left -= 1
            if self._common.tries_left < 0 or self._common.expansion_left <= 0:
                self._common.note("decode budget")
                return len(data)
            coding, after, why = found
            if why:
                self._common.note(why)
            if after > begin:
                self._look_into_fields(data[begin + 1 : after], self._total_at(data, begin))
            if coding and self._open(data, begin, after, coding, kind):
                return after
        self._waiting = data[max(at, len(data) - LONGEST_MAGIC + 1) :]
        return len(data)

    def _look_into_fields(self, data: bytes, origin: int) -> None:
        """An archive member's header has fields of any length, of which programs read little."""
        if next(beginnings(data), None) is None:
            return
        if self._depth >= MAX_NESTED:
            self._common.note(decode.TOO_DEEP)
            return
        fields = _Within(self._common, self._encodings, self._origin if self._encodings else origin, self._depth + 1)
        fields.feed(data)
        fields.finish()

    def _open(self, data: bytes, begin: int, after: int, coding: str, kind: str) -> bool:
        """Whether something of that coding seems to begin there: two bytes meet by chance, some dozen that make sense do not."""
        probe = inflate.inflater(coding, limit=MAX_PROBED, members=1)
        if probe is None:
            self._common.note(f"{coding}: not read")
            return False
        try:
            probe.feed(data[after : after + PROBE])
        except inflate.Malformed as broken:
            if len(broken.made) < MIN_GUESSED:
                return False
        except inflate.BoundReached:
            pass
        finally:
            self._common.pay_for_expansion(probe.made)
        place = self._origin if self._encodings else self._total_at(data, begin)
        self._inner = Inner(
            self._common, (*self._encodings, kind), place, [coding], self._total_at(data, after),
            members=1, head=data[begin:after], skipped=1, least=MIN_GUESSED,
        )  # fmt: skip
        return True

    def _total_at(self, data: bytes, offset: int) -> int:
        return self._total - len(data) + offset

    def _guess(self, data: bytes) -> None:
        """Set ``_inner``, or ``_untried`` to nothing; neither when it can be told from more of it only."""
        if len(data) < MIN_GUESSED_INPUT:
            self._untried = () if self._is_whole else self._untried
            return
        if next(beginnings(data[:LONGEST_MAGIC]), None) is not None or views.is_text(data[:MIN_GUESSED_INPUT]):
            if name := unreadable(data):
                self._common.note(f"{name}: not read")
            self._untried = ()
            return
        if len(data) < PROBE and not self._is_whole and not self._common.interactive:
            return
        for number, coding in enumerate(self._untried, 1):
            if self._makes_sense(data, coding):
                self._untried = self._untried[number:]
                encodings = (*self._encodings, coding)
                self._inner = Inner(self._common, encodings, self._origin, [coding], self._total_at(data, 0), members=1)
                return
        if len(data) >= PROBE or self._is_whole:
            self._untried = ()

    def _makes_sense(self, data: bytes, coding: str) -> bool:
        probe = inflate.inflater(coding, limit=MAX_PROBED, members=1)
        if probe is None:
            return False
        try:
            return len(probe.feed(data[:PROBE])) >= MIN_GUESSED
        except inflate.BoundReached:
            return False
        except inflate.Malformed as broken:  # something may follow it, of which brotli does not say where it begins
            return len(broken.made) >= MIN_GUESSED_INPUT
        finally:
            self._common.pay_for_expansion(probe.made)


class Inner:
    """A compressed stream: what it inflates to goes to a reader of its own.

    It is read in slices that begin at fixed offsets of it. When one shows that this is nothing of that kind after all, what it
    hides may begin there: ``again`` are the bytes that are to be looked at once more, the same ones however they came.

    marks: (bytes taken, bytes they had made then), of pieces whose contents the reader has not let go of.
    """

    def __init__(
        self,
        common: Common,
        encodings: tuple[str, ...],
        origin: int,
        codings: list[str],
        taken: int,
        *,
        members: int = 1 << 30,
        head: bytes = b"",
        skipped: int = 0,
        least: int = 0,
    ) -> None:
        """:param head: what stands before it, of which some bytes need not be looked at again. least: bytes that must come out
        of it before it counts.
        """
        self.codings = codings
        self.reader = Reader(common, encodings, origin)
        self.ended = False
        self.broken = ""  # the coding that was not what it was said to be
        self.is_mistaken = False  # whether that shows in its first slice already
        self.again = b""
        self._common = common
        self._machines = [machine for coding in codings if (machine := inflate.inflater(coding, members=members)) is not None]
        self._marks: deque[tuple[int, int]] = deque()
        self._taken = self._clear = taken
        self._kept, self._skipped = bytearray(head), skipped  # the slice so far
        self._size = self._room = inflate.FIRST_SLICE
        self._least, self._made = least, b""

    @property
    def clear(self) -> int:
        """Bytes taken that may leave, counted from where the sequence around this begins."""
        if self.ended:
            return self._taken
        while self._marks and self._marks[0][1] <= self.reader.clear:
            self._clear = self._marks.popleft()[0]
        return self._clear if self._common.interactive else min(self._clear, self._taken - len(self._kept))

    def feed(self, data: bytes, at: int = 0) -> int:
        """Take data from an offset on; how many bytes of it were part of this."""
        first = self._taken
        while at < len(data) and not self.ended:
            piece = data[at : at + self._room]
            self._take(piece)
            at += len(piece)
        return self._taken - first

    def _take(self, piece: bytes) -> None:
        before = self._machines[0].taken
        self._kept += piece
        try:
            for made in self._expanded(piece, self._machines):
                self._give(made)
        except (inflate.Malformed, inflate.BoundReached) as problem:
            self.ended = True
            self._taken += len(piece)
            if isinstance(problem, inflate.BoundReached):
                self._common.note("decode budget")
            else:
                self.broken, self.again = self.codings[-1], bytes(self._kept[self._skipped :])
                self.is_mistaken = self._size == inflate.FIRST_SLICE
                if any(machine.lost for machine in self._machines):
                    self._common.note(inflate.malformed(self.broken))
            return
        self._taken += self._machines[0].taken - before
        self._marks.append((self._taken, self.reader.total + len(self._made)))
        self.ended = self._machines[0].ended
        self._room -= len(piece)
        if self._room == 0:
            self._kept, self._skipped = bytearray(), 0
            self._size = self._room = min(2 * self._size, inflate.LAST_SLICE)

    def _give(self, made: bytes) -> None:
        self._made += made
        if len(self._made) >= self._least:
            made, self._made, self._least = self._made, b"", 0
            self.reader.feed(made)

    def finish(self) -> None:
        """Nothing comes any more."""
        if self._made and not self.broken:
            self.reader.feed(self._made)
        self.reader.finish()

    def _expanded(self, data: bytes, machines: list[inflate.Inflater]) -> Iterator[bytes]:
        """What it all comes to, piece by piece: of codings within each other the whole would be a thousand times a thousand."""
        if not machines:
            yield data
            return
        for made in machines[0].expand(data):
            yield from self._expanded(made, machines[1:])
            if not self._common.pay_for_expansion(len(made)):
                raise inflate.BoundReached
