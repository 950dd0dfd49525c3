"""The servers that no address was given for."""

import asyncio

from shared.embedded import DataDir, Postgres, Valkey
from shared.settings import Settings

from .keeper import Keeper


class Servers:
    """Valkey and PostgreSQL: those of the settings, else embedded ones over the data directory."""

    def __init__(self, settings: Settings, data_dir: DataDir) -> None:
        self._settings = settings
        self._valkey = None if settings.redis_url else Keeper(Valkey(data_dir.path))
        self._postgres = None if settings.database_url else Keeper(Postgres(data_dir.path))
        self._keepers = [keeper for keeper in (self._valkey, self._postgres) if keeper]

    @property
    def redis_url(self) -> str:
        """Where the log is; of an embedded server, once it is started."""
        return self._valkey.url if self._valkey else self._settings.redis_url or ""

    @property
    def database_url(self) -> str:
        """Where the archive is; of an embedded server, once it is started."""
        return self._postgres.url if self._postgres else self._settings.database_url or ""

    async def start(self) -> None:
        """Start what is embedded.

        Raises:
            ServerError: One would not start.
        """
        await asyncio.gather(*(keeper.start() for keeper in self._keepers))

    async def keep(self) -> None:
        """Start again what dies, until cancelled."""
        await asyncio.gather(*(keeper.keep() for keeper in self._keepers))

    async def stop(self) -> None:
        """Stop what is embedded, also after a start that was broken off."""
        await asyncio.gather(*(keeper.stop() for keeper in self._keepers))
