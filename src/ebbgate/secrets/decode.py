"""The other ways in which data can be read: decode, then match.

::

    data ──▶ containers ──▶ views          from anywhere in the bytes: gzip, zip, git packs ...
      └──▶ its text ──▶ runs ──▶ views     what is printable of it, or its longer printable runs: base64, hex, percent ...

Each decoder is one function in one visible table (``decoders``). It is given a view and makes views of it: all runs of one kind
together, so that a thousand hashes in a document cost one view and not a thousand. Decoding goes on with what came out, to a
depth and within budgets; whatever is over a budget is said to be uninspected, never silently clean. Budgets count work, not time,
so that the same data gives the same answer on every machine; the deadline is only for what nobody has thought of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from ebbgate.secrets import inflate
from ebbgate.secrets.beginnings import is_compressed
from ebbgate.secrets.decoders import ANYWHERE, CONTAINERS, TEXTS
from ebbgate.secrets.views import MAX_BYTES, SMALL, Budget, Decoder, View, deepest, text_of

TOO_DEEP = "nested too deep"
_REPEATED = ("percent", "escapes")  # these undo what was written so several times over at once
_FIRST = ("values", "unicode")  # these make almost what they are given, so they come first or not at all


def views(data: bytes, content_encoding: str, budget: Budget) -> Iterator[View]:
    """All readings of data but the plain one, breadth first. The codings it was announced to be in are undone first."""
    root = View(data)
    start = _undo_codings(root, content_encoding, budget)
    if start is None:
        return
    if start is not root:
        yield start
    # What is not what it was said to be is read as it is, too.
    yield from _onward([start, root] if start is not root and budget.notes else [start], budget)


def views_of_part(root: View, text: View | None, budget: Budget) -> Iterator[View]:
    """The same of a part of a stream, whose containers are opened by who reads the stream from its beginning. text: of it."""
    yield from _onward([], budget, chain(_each(ANYWHERE, root, budget), _of_text(root, text, budget)))


def _onward(waiting: list[View], budget: Budget, first: Iterable[View] = ()) -> Iterator[View]:
    seen = {hash(view.data) for view in waiting}
    made: Iterable[View] = first
    while True:
        for view in made:
            mark = hash(view.data)
            if mark in seen:
                continue
            leads_on = view.depth < deepest(len(view.data)) and view.encodings[-1:] != ("values",)
            if leads_on:
                seen.add(mark)
                waiting.append(view)
            elif is_compressed(view.data):
                budget.notes.append(TOO_DEEP)
            if not budget.take(len(view.data)):
                return
            yield view
        if not waiting:
            return
        made = _decoded(waiting.pop(0), budget)


def _undo_codings(view: View, header: str, budget: Budget) -> View | None:
    for coding in inflate.codings(header):
        machine = inflate.inflater(coding, limit=MAX_BYTES)
        if machine is None:
            budget.notes.append(f"unknown content-encoding {coding[:20]}")
            return view
        try:
            view = View(machine.feed(view.data), (*view.encodings, coding), view)
        except inflate.BoundReached:
            budget.notes.append("decode budget")
            return view
        except inflate.Malformed:
            budget.notes.append(inflate.malformed(coding))
            return view
        if not budget.take(len(view.data)):
            return None
    return view


def _decoded(view: View, budget: Budget) -> Iterator[View]:
    yield from _each(CONTAINERS, view, budget)
    yield from _each(ANYWHERE, view, budget)
    if not budget.spent:
        yield from _of_text(view, text_of(view), budget)


def _of_text(view: View, text: View | None, budget: Budget) -> Iterator[View]:
    """The text of a view that is none itself comes by itself, and its readings after it."""
    if text is view:
        yield from _each(TEXTS, view, budget)
    elif text is not None:
        yield text


def _each(table: Sequence[tuple[str, Decoder]], view: View, budget: Budget) -> Iterator[View]:
    for name, decoder in table:
        if (view.encodings[-1:] == (name,) and name in _REPEATED) or (
            len(view.encodings) > (len(view.data) <= SMALL) and name in _FIRST
        ):
            continue
        try:
            for made in decoder(view.data, budget):
                if made.data and made.data != view.data:
                    yield View(made.data, (*view.encodings, made.name or name), view, made.starts, made.origins)
                if budget.spent:
                    return
        except inflate.BoundReached:
            budget.notes.append("decode budget")
        except Exception:
            budget.notes.append(f"{name} decoder failed")
