"""All secrets of a run as they are looked for; made anew whenever one is added, and never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ebbgate.secrets.automaton import Automaton, Hit, first_of_each
from ebbgate.secrets.needles import (
    OTHERS,
    Needle,
    difference_needles_of,
    differences,
    folded_needles_of,
    needles_of,
    rare_needles_of,
    stripped_needles_of,
)
from ebbgate.secrets.secret import Secret


class Compiled:
    """literal: forms as they stand. folded: for names, without upper case."""

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self.secrets = tuple(secrets)
        values = [secret.reveal() for secret in secrets]
        self.literal = _automaton(values, needles_of)
        self.folded = _automaton(values, folded_needles_of)
        self._rare = _automaton(values, rare_needles_of)
        self._stripped = _automaton(values, stripped_needles_of)
        self._differences = _automaton(values, difference_needles_of)

    def hits(self, data: bytes) -> Iterator[tuple[Hit, bool]]:
        """Every form in data, the first of each secret and encoding; and whether its offset is the data's."""
        for hit in first_of_each(self.literal.search(data)[0]):
            yield hit, True
        yield from self.disguised(data)

    def disguised(self, data: bytes) -> Iterator[tuple[Hit, bool]]:
        """The same of the forms that are not looked for in everything."""
        for hit in (*self.rare(data), *self.xored(data)):
            yield hit, True
        for hit in self.stripped(data):
            yield hit, False

    def rare(self, data: bytes) -> list[Hit]:
        """Forms that are not looked for in everything."""
        return first_of_each(self._rare.search(data)[0])

    def stripped(self, text: bytes) -> list[Hit]:
        """What is found when all but letters and digits is taken out of a text. Offsets are not the text's."""
        bare = text.translate(None, OTHERS)
        return first_of_each(self._stripped.search(bare)[0]) if len(bare) < len(text) else []

    def xored(self, data: bytes) -> list[Hit]:
        """What is there under some single-byte XOR key."""
        return first_of_each(self._differences.search(differences(data))[0])


def _automaton(values: Sequence[bytes], needles: Callable[[bytes, int], list[Needle]]) -> Automaton:
    return Automaton([one for owner, value in enumerate(values) for one in needles(value, owner)])
