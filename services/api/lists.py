"""Lists: pages of a size, and a total that is exact up to a bound."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.api.door import whole
from services.api.ledger import COUNTED_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import BaseModel

PARAMETERS = ("page", "per_page")
PAGE_MAX = 50
SIZE_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Which part of a list: `number` from 1, `size` items each."""

    number: int
    size: int

    @property
    def offset(self) -> int:
        """Items before it."""
        return (self.number - 1) * self.size


def page_of(given: Mapping[str, str], *, default_size: int) -> Page:
    """The page that the query asks for.

    Raises:
        Problem: 422.
    """
    return Page(
        number=whole(given, "page", 1, most=PAGE_MAX, beyond="use cursor, which is not available yet"),
        size=whole(given, "per_page", default_size, most=SIZE_MAX, beyond="ask for more pages"),
    )


def listed(items: Sequence[BaseModel] | Sequence[dict[str, Any]], page: Page, counted: int) -> str:
    """The JSON of a list."""
    texts = [
        json.dumps(item) if isinstance(item, dict) else item.model_dump_json(by_alias=True) for item in items
    ]
    rest = {
        "page": page.number,
        "per_page": page.size,
        "total": min(counted, COUNTED_MAX),
        "total_is_capped": counted > COUNTED_MAX,
    }
    return f'{{"items":[{",".join(texts)}],{json.dumps(rest)[1:]}'
