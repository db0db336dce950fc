"""Hub-shaped views on the disk: a folder of its own for each running program, gone when the program is.

    <cache>/hub-views/<unique>/hub/models--org--name/refs/<ref>                 the commit, without a line's end
    <cache>/hub-views/<unique>/hub/models--org--name/snapshots/<commit>/<path>  hard links to the snapshots' files
    <cache>/hub-views/<unique>/offered.txt                                      what there is, for people

``<unique>`` is the name of the lease that the program holds. A program may write into its cache; no other ever sees
that. A view whose lease nobody holds any more is the next program's, under the name of its own lease, if nothing in it
is missing, other or more; else it is removed then, or by prune. There are no ``trees/``: with one, newer clients refuse
a commit of which some files were not locked.

Where the store cannot be written, or its files not be linked (a volume that is read-only, another user's store), the
view stands in the temporary folder, below one folder for each user, and has symbolic links. So it does where locks do
nothing, because nobody could tell whether its program still runs.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from vcm.core.hub_view import HubView
from vcm.core.lock import LockedModel
from vcm.core.records import record
from vcm.errors import NOT_INSTALLED, VcmError
from vcm.store.exclusion import NoLocksError, locks_work
from vcm.store.files import disk_errors, read_small, remove_folder, scanned, temporary_name
from vcm.store.leases import Lease, Leases
from vcm.store.store import Store

OFFERED = "offered.txt"
_FOLDER = "hub-views"
_UNIQUE = r"[0-9a-f]{32}"
_LINK_REFUSED = "run vcm as a user who may write the store, or point TMPDIR at a folder that can be written"


@record(frozen=True)
class OpenedView:
    """A view on the disk, for as long as its lease is held.

    Attributes:
        folder: the view's own.
        leases: of the view, and of the models where the view stands elsewhere; each with the folder it is for.
    """

    folder: Path
    leases: tuple[tuple[Path, Lease], ...]

    @property
    def hub(self) -> Path:
        """What the Hub's clients take for their cache."""
        return self.folder / "hub"

    @property
    def offered(self) -> Path:
        """The file that lists what there is."""
        return self.folder / OFFERED

    def close(self) -> None:
        """Let go of it; it stays while a forked process needs it."""
        for root, lease in self.leases:
            leases = Leases(root)
            lease.let_go()
            with suppress(OSError):
                if locks_work(leases.folder) and leases.is_abandoned(lease.name):
                    discard_view(root, lease.name)
                    leases.remove(lease.name)


def open_view(view: HubView, models: Iterable[LockedModel], store: Store, *, inheritable: bool) -> OpenedView:
    """Make a view of models that the gate has let through.

    Args:
        view: what is in it.
        models: what the program needs of the store, which prune leaves alone meanwhile.
        store: where the snapshots are.
        inheritable: whether the leases outlive this process in the one that takes its place.

    Raises:
        VcmError: a snapshot has gone meanwhile (NOT_INSTALLED), or there is no place for the view.
    """
    models = tuple(models)
    with suppress(OSError):
        return _made(store.root, view, store, Leases(store.root).take(models, inheritable=inheritable), os.link)
    leases: tuple[tuple[Path, Lease], ...] = ()
    with suppress(OSError):
        leases = ((store.root, Leases(store.root).take(models, inheritable=inheritable)),)
    try:
        with disk_errors(store.root, hint=_LINK_REFUSED):
            root = _private_root()
            opened = _made(root, view, store, Leases(root).take((), inheritable=inheritable), _symbolic_link)
    except BaseException:
        for _, lease in leases:
            lease.release()
        raise
    return OpenedView(opened.folder, (*opened.leases, *leases))


def _made(root: Path, view: HubView, store: Store, lease: Lease, link: Callable[[Path, Path], object]) -> OpenedView:
    folder = root / _FOLDER / lease.name
    try:
        texts, links = _content(view, store)
        if link is os.link:
            _refuse_no_locks(root / "in-use")
        if not _takes_over(root, folder, texts, links):
            _fill(folder, texts, links, link)
    except BaseException:
        lease.release()
        remove_folder(folder)
        raise
    return OpenedView(folder, ((root, lease),))


def _refuse_no_locks(folder: Path) -> None:
    if not locks_work(folder):
        raise NoLocksError(errno.ENOLCK, os.strerror(errno.ENOLCK), str(folder))


def _content(view: HubView, store: Store) -> tuple[dict[str, bytes], dict[str, Path]]:
    """What stands in the view's folder, by path: texts, and which file of a snapshot is linked."""
    texts, links = {OFFERED: view.text().encode()}, dict[str, Path]()
    for repo in view.repos:
        texts |= {f"hub/{repo.folder}/refs/{ref}": commit.encode() for ref, commit in repo.refs.items()}
        for (commit, path), tree_digest in repo.files.items():
            links[f"hub/{repo.folder}/snapshots/{commit}/{path}"] = store.snapshots.path(tree_digest) / path
    return texts, links


def _takes_over(root: Path, folder: Path, texts: dict[str, bytes], links: dict[str, Path]) -> bool:
    """Whether a view whose program is gone is, to the last file, what is wanted, and has another name now.

    To make many folders takes a disk long. One that is anything else is removed.
    """
    leases = Leases(root)
    names = [entry.name for entry in scanned(root / _FOLDER) if re.fullmatch(_UNIQUE, entry.name)]
    if not names or not locks_work(leases.folder):
        return False
    for name in filter(leases.is_abandoned, names):
        with suppress(OSError):
            # Of two that see it, one gets it.
            (root / _FOLDER / name).rename(folder)
            leases.remove(name)
            if _holds(folder, texts, links):
                return True
            remove_folder(folder)
    return False


def _holds(folder: Path, texts: dict[str, bytes], links: dict[str, Path]) -> bool:
    """Whether a folder has these texts, these hard links, the folders around them, and nothing else."""
    found = {
        f"{place}/{name}"[len(str(folder)) + 1 :]
        for place, folders, files in os.walk(folder)
        for name in (*folders, *files)
    }
    wanted = {"hub", *texts, *links}
    for path in (*texts, *links):
        parent = path.rpartition("/")[0]
        while parent and parent not in wanted:
            wanted.add(parent)
            parent = parent.rpartition("/")[0]
    return (
        found == wanted
        and all(_is_text(folder / path, data) for path, data in texts.items())
        and all(os.path.samestat(os.lstat(f"{folder}/{path}"), source.lstat()) for path, source in links.items())
    )


def _is_text(path: Path, data: bytes) -> bool:
    # A link may lead to something else by the time the program reads it.
    return not path.is_symlink() and read_small(path, len(data)) == data


def _fill(folder: Path, texts: dict[str, bytes], links: dict[str, Path], link: Callable[[Path, Path], object]) -> None:
    (folder / "hub").mkdir(parents=True)
    for parent in {path.rpartition("/")[0] for path in (*texts, *links)}:
        (folder / parent).mkdir(parents=True, exist_ok=True)
    for path, data in texts.items():
        (folder / path).write_bytes(data)
    for path, source in links.items():
        try:
            # On a disk that ignores case: the file of the same repo under another name.
            with suppress(FileExistsError):
                link(source, folder / path)
        except FileNotFoundError as error:
            raise VcmError(f"{source} has gone meanwhile", error_code=NOT_INSTALLED, hint="run vcm sync") from error


def _symbolic_link(source: Path, target: Path) -> None:
    source.lstat()
    target.symlink_to(source.absolute())


def discard_view(root: Path, name: str) -> None:
    """Remove a view that no program runs on; out of sight first, so that no other takes it over meanwhile."""
    hidden = root / "partial" / temporary_name("discarded-")
    hidden.parent.mkdir(exist_ok=True)
    with suppress(FileNotFoundError):
        (root / _FOLDER / name).rename(hidden)
        remove_folder(hidden)


def _private_root() -> Path:
    """A folder of this user in the temporary one, that nobody else can enter: the umask may let all write below it."""
    import tempfile

    user = os.getuid() if hasattr(os, "getuid") else None
    folder = Path(tempfile.gettempdir(), "vcm" if user is None else f"vcm-{user}")
    with suppress(FileExistsError):
        folder.mkdir(0o700)
    status = folder.lstat()
    # Its name can be guessed: somebody else may have made it, or a link.
    is_ours = stat.S_ISDIR(status.st_mode) and (user is None or (status.st_uid == user and not status.st_mode & 0o077))
    return folder if is_ours else Path(tempfile.mkdtemp(prefix="vcm-"))
