"""What is started beside servers and services, for whoever tries Daybook out: samples."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shared.clock import SystemClock
from shared.faults import Fatal

if TYPE_CHECKING:
    from shared.embedded import DataDir
    from shared.settings import Settings

    from .samples import Samples
    from .servers import Servers


class Beside:
    """Those things, from their start to their end.

    Args:
        settings: as `up` was given them.
        data_dir: the one that is held.
    """

    def __init__(self, settings: Settings, data_dir: DataDir) -> None:
        self._settings = settings
        self._data_dir = data_dir
        self._samples: Samples | None = None

    async def start(self) -> None:
        """Begin what needs no server; it is done while those start.

        Raises:
            Fatal: the file of sources is wrong.
        """
        self._samples = await asyncio.to_thread(self._laid_out)

    async def fill(self, servers: Servers) -> None:
        """Make what needs them."""
        if self._samples is not None and self._samples.databases is not None:
            await self._samples.databases.make(servers.database_url)

    def variables(self, servers: Servers) -> dict[str, str]:
        """What services must be told."""
        return {} if self._samples is None else self._samples.variables(servers.database_url)

    def lines(self) -> dict[str, str]:
        """What a person should know: a word, and what there is."""
        return {} if self._samples is None else {"Samples": self._samples.line()}

    async def stop(self) -> None:
        """End what runs."""

    def _laid_out(self) -> Samples | None:
        """The samples, where there are any. Imported only here: the servers start meanwhile."""
        if self._settings.sources is not None:
            _check_sources(self._settings)
            return None
        if self._settings.env == "production":
            return None
        from .samples import Samples  # noqa: PLC0415

        samples = Samples(self._settings, self._data_dir)
        samples.lay_out(SystemClock().now().date())
        return samples


def _check_sources(settings: Settings) -> None:
    from shared.job_types.catalog import BadSources, catalog_of  # noqa: PLC0415

    try:
        catalog_of(settings)
    except BadSources as wrong:
        raise Fatal(str(wrong)) from wrong
