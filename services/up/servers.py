"""The servers that no address was given for."""

import asyncio
from collections.abc import Mapping

from shared.embedded import DataDir, Postgres, Valkey
from shared.settings import Settings

from .keeper import Keeper
from .mail_catcher import MailCatcher


class Servers:
    """Valkey and PostgreSQL: those of the settings, else embedded ones over the data directory.

    In development there is a mail server, too, that keeps what it gets, unless the settings name one.
    """

    def __init__(self, settings: Settings, data_dir: DataDir) -> None:
        self._settings = settings
        self._valkey = None if settings.redis_url else Keeper(Valkey(data_dir.path))
        self._postgres = None if settings.database_url else Keeper(Postgres(data_dir.path))
        self._keepers = [keeper for keeper in (self._valkey, self._postgres) if keeper]
        catches = settings.smtp_url is None and settings.env == "development"
        folder = (settings.mail_dir or data_dir.path / "mail").absolute()
        self._catcher = MailCatcher(folder) if catches else None

    @property
    def redis_url(self) -> str:
        """Where the log is; of an embedded server, once it is started."""
        return self._valkey.url if self._valkey else self._settings.redis_url or ""

    @property
    def database_url(self) -> str:
        """Where the archive is; of an embedded server, once it is started."""
        return self._postgres.url if self._postgres else self._settings.database_url or ""

    @property
    def mail(self) -> Mapping[str, str]:
        """Variables that tell a child of the mail catcher, once it is started; none if there is none."""
        return self._catcher.environment if self._catcher else {}

    async def start(self) -> None:
        """Start what is embedded.

        Raises:
            ServerError: One would not start.
            OSError: Mail can't be caught.
        """
        if self._catcher:
            await self._catcher.start()
        await asyncio.gather(*(keeper.start() for keeper in self._keepers))

    async def keep(self) -> None:
        """Start again what dies, until cancelled."""
        await asyncio.gather(*(keeper.keep() for keeper in self._keepers))

    async def stop(self) -> None:
        """Stop what is embedded, also after a start that was broken off."""
        if self._catcher:
            await self._catcher.stop()
        await asyncio.gather(*(keeper.stop() for keeper in self._keepers))
