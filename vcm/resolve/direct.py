"""Direct files: a url and what the manifest says of it, locked."""

from __future__ import annotations

from vcm.core.formats import weight_format
from vcm.core.lock import LockedFile, LockedModel
from vcm.core.manifest import Requirement
from vcm.core.metadata import RemoteFile
from vcm.core.reference import file_name
from vcm.core.selection import refuse_pickle
from vcm.install.transfer import Transfer
from vcm.install.wanted import WantedFile


def lock_file(transfer: Transfer, requirement: Requirement, url: str, before: LockedModel | None) -> LockedModel:
    """The file of a url; it is fetched now unless the manifest, or the lock so far, says all there is to know.

    Raises:
        ConfigError: the file cannot be taken.
        VcmError: it cannot be had.
    """
    path = file_name(url, requirement.name)
    refuse_pickle([RemoteFile(path, 0)], requirement)
    if before is not None and before.url == url and _keeps_promises(before.files[0], requirement):
        file = before.files[0]
    else:
        file = _file(transfer, requirement, url, path)
    return LockedModel(
        name=requirement.name,
        source="url",
        url=url,
        format=weight_format(path),
        type=requirement.type,
        files=(file,),
    )


def _file(transfer: Transfer, requirement: Requirement, url: str, path: str) -> LockedFile:
    checksum = requirement.checksum
    sha256 = checksum.hex if checksum and checksum.algorithm == "sha256" else None
    if sha256 is not None and requirement.size is not None:
        return LockedFile(path, requirement.size, sha256)
    wanted = WantedFile(
        model=requirement.name,
        path=path,
        url=url,
        size=requirement.size,
        sha256=sha256,
        checksum=checksum,
    )
    fetched = transfer.fetch(wanted)
    return LockedFile(path, fetched.size, fetched.sha256)


def _keeps_promises(file: LockedFile, requirement: Requirement) -> bool:
    checksum = requirement.checksum
    if requirement.size is not None and requirement.size != file.size:
        return False
    return checksum is None or (checksum.algorithm == "sha256" and checksum.hex == file.sha256)
