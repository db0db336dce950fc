"""Pages of a long answer: limits, opaque cursors and the ``Link`` header to the next page."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode

from vcm.testing.access import bad_request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vcm.testing.wire import Request

Item = TypeVar("Item")


def page_limit(request: Request, page_size: int) -> int:
    """Return how many entries an answer may hold.

    Args:
        request: its query may hold ``limit``.
        page_size: the most that the server gives.

    Raises:
        Refusal: ``limit`` is not a whole number above zero.
    """
    return min(page_size, whole_number(request, "limit", page_size, minimum=1))


def whole_number(request: Request, name: str, default: int, *, minimum: int) -> int:
    """Read a whole number from the query.

    Args:
        request: the request.
        name: the parameter.
        default: its value when it is not given.
        minimum: the smallest value that makes sense.

    Raises:
        Refusal: it is not a number, or too small.
    """
    text = request.value(name, str(default))
    if not text.isdecimal() or int(text) < minimum:
        raise bad_request(f'"{name}" must be a whole number of at least {minimum}')
    return int(text)


def cursor_for(last: str, tree_oid: str, limit: int) -> str:
    """Return the cursor that continues after an entry, in the form the Hub gives it.

    Args:
        last: the last entry's path or name.
        tree_oid: the id of the listed tree.
        limit: how many entries a page holds.
    """
    inner = base64.b64encode(json.dumps({"file_name": last, "tree_oid": tree_oid}).encode()).decode()
    return base64.b64encode(f"{inner}:{limit}".encode()).decode()


def after_cursor(request: Request, items: Sequence[Item], key: Callable[[Item], str]) -> Sequence[Item]:
    """Return the entries that follow the request's cursor, or all of them without one.

    Args:
        request: its query may hold ``cursor``.
        items: every entry, in the order of ``key``.
        key: gives an entry's path or name.

    Raises:
        Refusal: the cursor is not one of ``cursor_for``.
    """
    cursor = request.value("cursor")
    if not cursor:
        return items
    try:
        inner = base64.b64decode(cursor, validate=True).decode().rpartition(":")[0]
        last = str(json.loads(base64.b64decode(inner, validate=True))["file_name"])
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise bad_request("Invalid cursor") from error
    return [item for item in items if key(item) > last]


def next_link(request: Request, changes: Mapping[str, str]) -> str:
    """Return the ``Link`` header to the next page, absolute and on the host the client asked.

    Args:
        request: the path and the other parameters are kept.
        changes: the parameters of the next page.
    """
    kept = [(name, value) for name, values in request.query.items() if name not in changes for value in values]
    query = urlencode([*kept, *changes.items()])
    return f'<{request.origin}{request.path}?{query}>; rel="next"'
