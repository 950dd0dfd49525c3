"""Pages that know how many there are: `Page 2 of 7`, which is written when the last is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reportlab.pdfgen.canvas import Canvas

if TYPE_CHECKING:
    from collections.abc import Callable

FONT = "Daybook"


class NumberedCanvas(Canvas):  # type: ignore[misc]
    """Keeps each page until the end.

    Args:
        pages: gets the number of each page, in order.
    """

    def __init__(self, pages: list[int], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._told = pages
        self._kept: list[dict[str, Any]] = []
        self._begin_page: Callable[[], None] = self._startPage

    def showPage(self) -> None:  # noqa: N802 - reportlab's name
        """Keep this page and begin the next."""
        self._kept.append(dict(self.__dict__))
        self._begin_page()

    def save(self) -> None:
        """Number the pages and write the file."""
        count = len(self._kept)
        for number, page in enumerate(self._kept, start=1):
            self.__dict__.update(page)
            self._told.append(number)
            self.setFont(FONT, 8)
            self.setFillGray(0.4)
            self.drawRightString(self._pagesize[0] - 51, 28, f"Page {number} of {count}")
            super().showPage()
        super().save()
