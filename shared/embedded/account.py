"""Who PostgreSQL runs as: it refuses root, so root lends it another account."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user of this machine that is not root."""

    uid: int
    gid: int

    def may_pass(self, path: Path) -> bool:
        """Whether each directory above `path`, and `path` itself, lets this account through.

        Looks at the mode bits alone: a list of further rights (ACL) may allow more.
        """
        return all(self._may_enter(step.stat()) for step in (path, *path.parents))

    def _may_enter(self, found: os.stat_result) -> bool:
        if found.st_uid == self.uid:
            return bool(found.st_mode & stat.S_IXUSR)
        if found.st_gid == self.gid:
            return bool(found.st_mode & stat.S_IXGRP)
        return bool(found.st_mode & stat.S_IXOTH)


def lent_account(directory: Path) -> Account | None:
    """Return the account a server over `directory` must be given; None: the present one does.

    Data made earlier stays with its owner, whoever starts the server next. New data goes to `nobody`: the one
    account that is everywhere (initdb wants a name, so a number of nobody's will not do).
    """
    if os.geteuid() != 0:
        return None
    owner = directory.stat()
    if owner.st_uid != 0:
        return Account(uid=owner.st_uid, gid=owner.st_gid)
    nobody = pwd.getpwnam("nobody")
    return Account(uid=nobody.pw_uid, gid=nobody.pw_gid)
