"""What is started beside servers and services, for whoever tries Daybook out: samples."""

import asyncio

from shared.clock import SystemClock
from shared.embedded import DataDir
from shared.faults import Fatal
from shared.job_types.catalog import BadSources, catalog_of
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
        samples = Samples(settings, data_dir)
        self._settings = settings
        self._samples = samples if samples.wanted else None

    async def start(self) -> None:
        """Begin what needs no server; it is done while those start.

        Raises:
            Fatal: the file of sources is wrong.
        """
        try:
            catalog_of(self._settings)
        except BadSources as wrong:
            raise Fatal(str(wrong)) from wrong
        if self._samples is not None:
            await asyncio.to_thread(self._samples.lay_out, SystemClock().now().date())

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
