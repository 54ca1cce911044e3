"""What went wrong, in words that may be shown: an error's text without addresses and passwords.

Drivers put the address of a server into their messages, and with it what opens the server. What a
health check says goes to endpoints that anybody may read. Scheme and class tell enough to look for
the rest in the log of the store.
"""

from __future__ import annotations

import re
from typing import Final

from lexigram_actors.errors import describe
from lexigram_actors.errors.base import sole_error

LONGEST: Final = 200
"""Characters of a reason that are shown."""

READ: Final = 2_000
"""Characters that are looked at: looking takes time by the square of them."""

ADDRESS: Final = re.compile(r"([a-z][a-z0-9+.-]*)://(?:.*@)?\S*", re.IGNORECASE | re.DOTALL)
"""A URL; up to the last @, as a password may hold spaces that somebody forgot to encode."""

AT: Final = re.compile(r"\S*@\S*")

ASSIGNED: Final = re.compile(
    r"""([\w-]*(?:passw|passphrase|pwd|secret|token|credential|signature
            |(?:api|access|account|private|shared)[_-]?key)[\w-]*
        |\b(?:pass|auth|authorization|sig))
        (["']?\s*[:=]\s*)
        (?:(?:bearer|basic)\s+)?
        (?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,;}&]+)""",
    re.IGNORECASE | re.VERBOSE,
)
"""A name that tells of a secret, and what it is set to."""

BEARER: Final = re.compile(r"\b(bearer)\s+\S+", re.IGNORECASE)


def reason(error: object) -> str:
    """Return one line about a failure, without what should not be read by everybody."""
    said = describe(sole_error(error) if isinstance(error, BaseException) else error)
    if len(said) > READ:  # of the word at the cut, half would not be recognised
        said = said[:READ].rpartition(" ")[0] + " ..."
    return shortened(without_secrets(said))


def without_secrets(text: str) -> str:
    """Return the text with addresses and passwords left out."""
    text = ADDRESS.sub(r"\1:...", text)
    text = ASSIGNED.sub(r"\1\2...", text)
    text = BEARER.sub(r"\1 ...", text)
    return AT.sub("...", text)


def shortened(text: str) -> str:
    """Return the text as one line of no more than `LONGEST` characters."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."
