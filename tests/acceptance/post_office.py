"""The mail server of the integration tests, in a thread of its own beside a system of processes."""

import asyncio
import threading

from tests.integration.smtp_kit import Post


class PostOffice:
    """Takes mails; `says` is as Post has it."""

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._post = Post()

    def __enter__(self):
        self._thread.start()
        self._run(self._post.start())
        return self

    def __exit__(self, *_):
        self._run(self._post.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def url(self):
        return f"smtp://127.0.0.1:{self._post.port}"

    @property
    def says(self):
        return self._post.says

    @property
    def mails(self):
        return list(self._post.mails)

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)
