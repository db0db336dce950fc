"""ModelDownloader: one model at a time out of the hub, for programs that have no ``models.toml``.

The same resolver, transfer and store as the command line: what comes is verified before it is visible, bytes that are
here are not fetched again, and a download that was broken off goes on from where it stood. Work is done in threads of
its own; the event loop only waits.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Dict, List, Optional

from vcm.core import names
from vcm.core.downloads import DownloadRequest, as_download_error, checked_request, refuse_missing
from vcm.core.entries import ModelEntry, ModelStatus, ModelType
from vcm.core.lock import LockedModel
from vcm.core.manifest import DEFAULT_HEADROOM, Manifest
from vcm.errors import (
    ConfigError,
    ModelRegistryError,
    RegistryError,
    VcmError,
)
from vcm.install.progress import DownloadProgress
from vcm.resolve.connecting import connect
from vcm.session import Session
from vcm.settings import Settings, read_settings
from vcm.store.registry import ModelRegistry
from vcm.store.snapshots import SnapshotStore


class _Job:
    """One download, for all who wait for it.

    ``guard`` is held while the registry is changed for it, and ``over`` set when it ends or is called off: whoever
    comes first decides which.
    """

    def __init__(self, request: DownloadRequest) -> None:
        self.request = request
        self.progress = DownloadProgress(request.model_id, time.monotonic)
        self.cancelled = threading.Event()
        self.outcome: Future[ModelEntry | None] = Future()
        self.guard = threading.Lock()
        self.over = False
        self.is_called_off = False
        self.waiters = 0
        self.before: ModelEntry | None = None
        self.keeps_before = False
        self.is_noted = False

    def found(self, before: ModelEntry | None) -> None:
        """Remember the entry there was: where its files are there, it stays good until there is a better one."""
        self.before = deepcopy(before)
        self.keeps_before = before is not None and before.status is ModelStatus.AVAILABLE and before.path.is_dir()


class ModelDownloader:
    """Downloads models from the Hugging Face Hub, or from the hub that HF_ENDPOINT names.

    Args:
        registry: where entries of the models are kept.
        download_dir: the store's folder; one that vcm uses already will do.
        max_workers: how many models are downloaded at once; the others are pending.
        settings: where the hub is, and what may be sent; by default what the environment says.

    Raises:
        ConfigError: a variable of the environment, or ``max_workers``, cannot be used.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        download_dir: Path,
        max_workers: int = 3,
        *,
        settings: Settings | None = None,
    ) -> None:
        if max_workers < 1:
            raise ConfigError(f"max_workers: expected at least 1, found {max_workers}", hint="leave it out for 3")
        self.registry = registry
        self._settings = (
            read_settings(cache_dir=download_dir)
            if settings is None
            else replace(settings, cache_dir=Path.cwd() / download_dir)
        )
        self.download_dir: Path = self._settings.cache_dir
        self.max_workers = max_workers
        self._changed = threading.Condition()
        self._jobs: dict[str, _Job] = {}
        self._running: set[_Job] = set()

    async def download_model_hf(
        self,
        model_id: str,
        model_type: ModelType,
        revision: str = "main",
        specific_files: Optional[List[str]] = None,
    ) -> Optional[ModelEntry]:
        """Have a model here, verified, and its entry in the registry.

        The entry's ``path`` is the folder with its files, ``version`` the revision that was asked for; the exact
        ``commit`` and ``tree_digest`` are in its metadata. An entry that is available stays so until the new files
        are there. Several calls for the same are one download.

        Args:
            model_id: a repo's id, ``namespace/name``.
            model_type: what the model is for.
            revision: a branch, tag or commit.
            specific_files: paths of the files to take, and no others but licences; by default all but weights, and the
                weights of one format that holds no pickles.

        Returns:
            The entry; None if ``cancel_download`` was called.

        Raises:
            ModelDownloadError: it cannot be had; the entry says so with status ``error``.
            ModelChecksumError: what comes is not what was promised.
            DiskSpaceError: there is not enough room.
            ModelRegistryError: the registry's file cannot be used.
        """
        request = checked_request(model_id, model_type, revision, specific_files)
        while True:
            job, is_joined = self._join(request)
            if is_joined:
                break
            # One entry cannot be two things at once.
            with suppress(Exception):
                await asyncio.shield(asyncio.wrap_future(job.outcome))
        try:
            return await asyncio.shield(asyncio.wrap_future(job.outcome))
        except asyncio.CancelledError:
            await asyncio.to_thread(self._leave, job)
            raise

    async def get_model_info_hf(self, model_id: str) -> Optional[Dict[str, Any]]:
        """What the hub says of a model's default branch; nothing is downloaded.

        Args:
            model_id: a repo's id, ``namespace/name``.

        Returns:
            ``model_id`` as it is called today, ``commit``, ``size`` (bytes of all files), ``files`` (their number),
            ``tags``, ``pipeline_tag``, ``license``, ``gated`` and ``new_version``; None if the hub has no such model,
            shows it to others only, or cannot be reached (``HuggingFaceRegistry.query_model`` says which).

        Raises:
            ConfigError: the token cannot be sent.
        """
        return await asyncio.to_thread(self._info, model_id)

    def get_download_progress(self, model_id: str) -> Optional[Dict[str, Any]]:
        """How far a download is; None where none is going on.

        Args:
            model_id: as it was given to ``download_model_hf``.

        Returns:
            ``model_id``, ``status`` (``pending`` or ``downloading``), ``progress`` (0.0 to 1.0), ``downloaded_bytes``
            (here, also from before), ``total_bytes`` and ``files_total`` (0 until the hub has told),
            ``files_completed``, and ``estimated_remaining`` (seconds, None while nobody can tell).
        """
        with self._changed:
            job = self._jobs.get(model_id)
            return None if job is None or job.is_called_off else job.progress.as_dict()

    def cancel_download(self, model_id: str) -> bool:
        """Call a download off; the bytes that came are kept for the next one. Any thread may do so.

        Args:
            model_id: as it was given to ``download_model_hf``.

        Returns:
            False if none is going on.
        """
        with self._changed:
            job = self._jobs.get(model_id)
            if job is None or job.is_called_off:
                return False
            job.is_called_off = True
        return self._call_off(job)

    # Jobs

    def _join(self, request: DownloadRequest) -> tuple[_Job, bool]:
        """The job for a request, begun if there is none; or the one that has to end before, and False."""
        with self._changed:
            job = self._jobs.get(request.model_id)
            if job is None:
                job = _Job(request)
                # A daemon: a program that ends does not wait for it, and it leaves nothing half done.
                threading.Thread(target=self._run, args=(job,), name="vcm-download", daemon=True).start()
                self._jobs[request.model_id] = job
            elif job.request != request or job.is_called_off:
                return job, False
            job.waiters += 1
            return job, True

    def _leave(self, job: _Job) -> None:
        """One who waited does so no more; a download that nobody waits for is called off."""
        with self._changed:
            job.waiters -= 1
            if job.waiters or job.is_called_off:
                return
            job.is_called_off = True
        self._call_off(job)

    def _call_off(self, job: _Job) -> bool:
        with job.guard:
            if job.over:
                return False
            job.over = True
            job.cancelled.set()
            with suppress(ModelRegistryError):
                self._restore(job)
        self._release(job)
        job.outcome.set_result(None)
        return True

    def _run(self, job: _Job) -> None:
        """The whole life of a job, in a thread of its own."""
        entry, failure = None, None
        try:
            entry = self._download(job)
        except BaseException as error:  # noqa: BLE001  (whoever waits gets it)
            failure = as_download_error(error, job.request) if isinstance(error, VcmError) else error
        with job.guard:
            if job.over:
                return
            job.over = True
            try:
                if entry is not None:
                    self.registry.put_model(entry)
                else:
                    self._note_failure(job, failure)
            except Exception as error:  # noqa: BLE001
                failure = failure or error
        self._release(job)
        if failure is not None:
            job.outcome.set_exception(failure)
        else:
            job.outcome.set_result(entry)

    def _release(self, job: _Job) -> None:
        with self._changed:
            del self._jobs[job.request.model_id]
            self._running.discard(job)
            self._changed.notify_all()

    def _take_turn(self, job: _Job, *, wait: bool) -> bool:
        """Whether the job may begin; KeyboardInterrupt if it was called off meanwhile."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: job.over or len(self._running) < self.max_workers)
            if job.over:
                raise KeyboardInterrupt
            if len(self._running) < self.max_workers:
                self._running.add(job)
                job.progress.status = ModelStatus.DOWNLOADING
                return True
            return False

    # What the registry says meanwhile

    def _note(self, job: _Job, status: ModelStatus, model: LockedModel | None = None) -> None:
        """Say in the registry how far it is; KeyboardInterrupt if it was called off meanwhile."""
        with job.guard:
            if job.over:
                raise KeyboardInterrupt
            if not job.keeps_before:
                job.is_noted = True
                self.registry.put_model(self._entry(job, status, model))

    def _note_failure(self, job: _Job, failure: BaseException | None) -> None:
        if job.keeps_before or isinstance(failure, ModelRegistryError):
            return
        entry = self._entry(job, ModelStatus.ERROR)
        error = {"code": getattr(failure, "error_code", None), "message": str(failure)}
        entry.metadata["error"] = error
        self.registry.put_model(entry)

    def _restore(self, job: _Job) -> None:
        if job.is_noted and job.before is not None:
            self.registry.put_model(job.before)
        elif job.is_noted:
            self.registry.remove_model(job.request.model_id)

    def _entry(self, job: _Job, status: ModelStatus, model: LockedModel | None = None) -> ModelEntry:
        """The entry as it is now: of the files, as far as they are known."""
        request, before = job.request, job.before
        metadata = deepcopy(before.metadata) if before else {}
        metadata.pop("error", None)
        metadata |= {"source": "huggingface", "repo": request.model_id}
        path, date = self.download_dir, datetime.now(UTC).replace(microsecond=0)
        if model is not None:
            digest = f"sha256:{model.tree_digest}"
            if job.keeps_before and before is not None and before.metadata.get("tree_digest") == digest:
                date = before.download_date
            path = SnapshotStore(self.download_dir).path(model.tree_digest)
            metadata |= {"repo": model.repo, "commit": model.commit, "tree_digest": digest}
            metadata |= {"file_count": len(model.files), "format": model.format, "license": model.license}
        return ModelEntry(
            model_id=request.model_id,
            model_type=request.model_type,
            path=path,
            status=status,
            version=request.revision,
            size_bytes=model.size if model else 0,
            download_date=date,
            metadata={key: value for key, value in metadata.items() if value is not None},
        )

    # The work

    def _download(self, job: _Job) -> ModelEntry:
        """Bring the model here.

        Raises:
            KeyboardInterrupt: it was called off.
            VcmError: it cannot be had.
        """
        job.found(self.registry.get_model(job.request.model_id))
        if not self._take_turn(job, wait=False):
            self._note(job, ModelStatus.PENDING)
            self._take_turn(job, wait=True)
        self._note(job, ModelStatus.DOWNLOADING)
        with Session(self._settings, job.progress, job.cancelled) as session:
            # Asked for by name, and not by a project that has a lock: what the hub has today.
            manifest = Manifest(models=(job.request.requirement(),))
            (model,) = session.resolve(manifest, None, upgrade=("*",)).after.models
            refuse_missing(model, job.request.specific_files or ())
            plan = session.store.plan([model])
            job.progress.begin(plan.models[0])
            self._note(job, ModelStatus.DOWNLOADING, model)
            (synced,) = session.install(plan, DEFAULT_HEADROOM)
        if synced.error is not None:
            raise synced.error
        return self._entry(job, ModelStatus.AVAILABLE, model)

    def _info(self, model_id: str) -> dict[str, Any] | None:
        try:
            client = connect(self._settings)
            try:
                info = client.info(names.repo_id(model_id), None)
                files = client.tree(info.repo, info.commit)
            finally:
                client.http.close()
        except (RegistryError, ValueError):
            return None
        return {
            "model_id": info.repo,
            "commit": info.commit,
            "size": sum(file.size for file in files),
            "files": len(files),
            "tags": list(info.tags),
            "pipeline_tag": info.task,
            "license": info.license,
            "gated": info.gated,
            "new_version": info.new_version,
        }
