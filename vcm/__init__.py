"""vcm, a package manager for model weights: declare, lock by SHA-256, sync, and start on nothing else.

A program needs two names from here::

    import vcm

    paths = vcm.gate()              # every required model is the locked one, or this raises
    folder = vcm.require("frames")  # the folder with the locked files of one model

The map, from the rules to the terminal; each package may import what stands above it:

    errors, version   every error; the version
    core              the rules: manifest, lock, selection, policy, plan; values in, values out
    settings          the one reader of the environment
    store             the disk: blobs, snapshots, project files, caches; who else uses them
    serve             the store as a Hub for its neighbours: requests in, installed files out
    http              the network: requests, redirects, faults, patience; which header goes to whom
    hub               what the hub answers: its API, its refusals, what is known of it already
    oci               OCI registries: who may ask them, what is in them, how something gets there
    install           bytes → store: taken from this machine, else from the first source that gives them
    mirrors           sources beside a file's origin: web servers, OCI registries, folders
    pushing           installed models → an OCI registry, which is a mirror of them from then on
    resolve           hub → lock: choosing, following, what has changed since
    connections       whom one run may ask: the hub, and the mirrors before it
    session           one run over one project: what to ask, what to install
    downloader        ModelDownloader: the same for one model of the hub, without a project
    enforce           yes or no: the gate, ModelManager
    video             a video as pictures, sound and text; the copy in which flagged stretches are black and silent
    detectors         what a detector is, and the kinds that come with vcm; each runs on a snapshot's folder only
    analysis          AnalysisPipeline: gate, then video → detectors → report
    cli               parses, calls, prints
    testing           a hub on loopback, for tests of vcm and of programs that use it; imports nothing of the above

Nothing below is imported before it is used: ``import vcm`` costs next to nothing.
"""

from __future__ import annotations

from vcm import version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vcm.analysis.pipeline import AnalysisPipeline
    from vcm.core.entries import ModelEntry, ModelStatus, ModelType
    from vcm.downloader import ModelDownloader
    from vcm.enforce.config import Config, ModelsConfig, ModelSource, load_config
    from vcm.enforce.gate import gate, require
    from vcm.enforce.hub_view import hub_view
    from vcm.enforce.manager import ModelManager
    from vcm.errors import (
        ConfigError,
        DiskSpaceError,
        LockError,
        ModelChecksumError,
        ModelDownloadError,
        ModelNotFoundError,
        ModelRegistryError,
        PolicyError,
        RegistryError,
        VcmError,
        VideoError,
    )
    from vcm.resolve.registry import HuggingFaceRegistry, ModelMetadata
    from vcm.store.registry import ModelRegistry

__version__ = version.VERSION

_HOMES = {
    "AnalysisPipeline": "vcm.analysis.pipeline",
    "Config": "vcm.enforce.config",
    "ConfigError": "vcm.errors",
    "DiskSpaceError": "vcm.errors",
    "HuggingFaceRegistry": "vcm.resolve.registry",
    "LockError": "vcm.errors",
    "ModelChecksumError": "vcm.errors",
    "ModelDownloadError": "vcm.errors",
    "ModelDownloader": "vcm.downloader",
    "ModelEntry": "vcm.core.entries",
    "ModelManager": "vcm.enforce.manager",
    "ModelMetadata": "vcm.resolve.registry",
    "ModelNotFoundError": "vcm.errors",
    "ModelRegistry": "vcm.store.registry",
    "ModelRegistryError": "vcm.errors",
    "ModelSource": "vcm.enforce.config",
    "ModelStatus": "vcm.core.entries",
    "ModelType": "vcm.core.entries",
    "ModelsConfig": "vcm.enforce.config",
    "PolicyError": "vcm.errors",
    "RegistryError": "vcm.errors",
    "VcmError": "vcm.errors",
    "VideoError": "vcm.errors",
    "gate": "vcm.enforce.gate",
    "hub_view": "vcm.enforce.hub_view",
    "load_config": "vcm.enforce.config",
    "require": "vcm.enforce.gate",
}

__all__ = [
    "AnalysisPipeline",
    "Config",
    "ConfigError",
    "DiskSpaceError",
    "HuggingFaceRegistry",
    "LockError",
    "ModelChecksumError",
    "ModelDownloadError",
    "ModelDownloader",
    "ModelEntry",
    "ModelManager",
    "ModelMetadata",
    "ModelNotFoundError",
    "ModelRegistry",
    "ModelRegistryError",
    "ModelSource",
    "ModelStatus",
    "ModelType",
    "ModelsConfig",
    "PolicyError",
    "RegistryError",
    "VcmError",
    "VideoError",
    "__version__",
    "gate",
    "hub_view",
    "load_config",
    "require",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'vcm' has no attribute {name!r}")
    value = getattr(__import__(home, fromlist=(name,)), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    # What is not read yet is there for whoever presses Tab.
    return sorted({*globals(), *__all__})
