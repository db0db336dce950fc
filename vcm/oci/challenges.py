"""What a server wants to hear before it answers: the header ``WWW-Authenticate``; pure.

https://datatracker.ietf.org/doc/html/rfc9110#section-11.6.1.
"""

from __future__ import annotations

import re

from vcm.core.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'({_WORD})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_WORD}))(?=[ \t,]|$)', re.DOTALL)
# A scheme, and what some of them say in one word (token68).
_SCHEME = re.compile(rf"({_WORD})(?:[ \t]+[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$))?")
_BETWEEN = re.compile(r"[ \t,]*")


@record(frozen=True)
class Challenge:
    """One way to be let in.

    Attributes:
        scheme: in lower case, ``bearer``.
        parameters: by name, in lower case.
    """

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(text: str) -> list[Challenge]:
    """The challenges of a header, of which there may be several; what comes after something unreadable is left out."""
    found: list[Challenge] = []
    position = 0
    while True:
        if (gap := _BETWEEN.match(text, position)) is not None:
            position = gap.end()
        if found and (parameter := _PARAMETER.match(text, position)):
            name, quoted, plain = parameter.groups()
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
            found[-1] = Challenge(found[-1].scheme, {name.lower(): value, **found[-1].parameters})
            position = parameter.end()
        elif scheme := _SCHEME.match(text, position):
            found.append(Challenge(scheme[1].lower(), {}))
            position = scheme.end()
        else:
            return found
