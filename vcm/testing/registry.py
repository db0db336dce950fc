"""The repositories of the simulated Hub by name, and the names they once had."""

from __future__ import annotations

import hashlib
from collections import Counter
from threading import RLock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vcm.testing.repository import SimulatedRepo


class Registry:
    """Repositories by name; names are compared without regard to letter case, as on the Hub.

    Attributes:
        lock: held while the state is read for an answer or changed by a test.
    """

    def __init__(self) -> None:
        self.lock = RLock()
        self._current: dict[str, SimulatedRepo] = {}
        self._former: dict[str, SimulatedRepo] = {}
        self._given: Counter[str] = Counter()

    def add(self, repo: SimulatedRepo) -> None:
        """Add a repository; a redirect from the same name ends.

        Raises:
            ValueError: the name is taken.
        """
        with self.lock:
            if repo.id.lower() in self._current:
                raise ValueError(f"there is already a repository {repo.id!r}")
            self._former.pop(repo.id.lower(), None)
            self._current[repo.id.lower()] = repo
            self._given[repo.id.lower()] += 1

    def new_id(self, name: str) -> str:
        """Return an internal id for a new repository: another one each time that a name is given anew."""
        before = self._given[name.lower()]
        again = f" for the {before + 1}. time" if before else ""
        return hashlib.sha256(f"repository {name}{again}".encode()).hexdigest()[:24]

    def get(self, name: str) -> SimulatedRepo:
        """Return the repository that has a name now.

        Raises:
            KeyError: there is none.
        """
        with self.lock:
            if name.lower() not in self._current:
                raise KeyError(f"there is no repository {name!r}")
            return self._current[name.lower()]

    def find(self, name: str) -> SimulatedRepo | None:
        """Return the repository that has or once had a name, or None; its ``id`` tells whether the name is current."""
        return self._current.get(name.lower()) or self._former.get(name.lower())

    def all(self) -> list[SimulatedRepo]:
        """Return every repository in the order of their names."""
        return sorted(self._current.values(), key=lambda repo: repo.id)

    def rename(self, old: str, new: str) -> None:
        """Give a repository another name and redirect from the old one.

        Raises:
            KeyError: there is no repository of the old name.
            ValueError: the new name is taken.
        """
        with self.lock:
            repo = self.get(old)
            former = repo.id
            del self._current[former.lower()]
            repo.id = new
            try:
                self.add(repo)
            except ValueError:
                repo.id = former
                self._current[former.lower()] = repo
                raise
            if former.lower() != new.lower():
                self._former[former.lower()] = repo

    def remove(self, name: str) -> None:
        """Delete a repository and every redirect to it.

        Raises:
            KeyError: there is none of that name.
        """
        with self.lock:
            repo = self.get(name)
            del self._current[repo.id.lower()]
            self._former = {former: target for former, target in self._former.items() if target is not repo}
