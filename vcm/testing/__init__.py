"""A Hugging Face Hub on this machine, for the tests of programs that download models.

``HubSimulator`` answers like the Hub does, over real HTTP on 127.0.0.1, to any client: commits, branches and tags,
paged listings, Git LFS files behind signed CDN URLs, gates, renamed repositories, ranges, weak ETags on what the API
says. It also fails on demand.
It needs nothing beyond the standard library. A fixture::

    import pytest
    from vcm.testing import Fault, HubSimulator

    @pytest.fixture
    def hub():
        with HubSimulator(tokens=["hf_reader"]) as simulator:
            yield simulator

and a test with it::

    def test_download_resumes(hub, tmp_path):
        hub.add_repo("acme/tiny", {"config.json": b"{}", "model.safetensors": b"x" * 5000}, tags=["v1.0"])
        hub.fail(Fault(origin="cdn", cut_after=2000))

        my_program.download("acme/tiny", "v1.0", endpoint=hub.endpoint, target=tmp_path)

        assert (tmp_path / "model.safetensors").read_bytes() == b"x" * 5000
        asked = [request for request in hub.requests if request.origin == "cdn"]
        assert asked[1].headers["range"] == "bytes=2000-"
        assert all("authorization" not in request.headers for request in asked)

Clients that read ``HF_ENDPOINT`` must see it before they are imported: run them in a child process with
``HF_ENDPOINT=hub.endpoint`` and a fresh ``HF_HOME``.

Files whose bytes nobody has can be listed all the same, whatever their size, as ``Unfetched(size=..., sha256=...)``.
Every answer takes ``hub.latency`` seconds to come, and ``hub.limit("api", quota=50, window=5)`` lets 50 requests
through in five seconds and answers 429 to the rest.

Only model repositories exist here. There are no Xet headers, no compression unless a fault asks for it, and no refusals
by number: until a test sets a limit, the rate-limit headers count, but never come down to nothing.

``MockHuggingFaceServer`` is the short form for tests that need a download URL and nothing else.
"""

from vcm.testing.content import LFS_MINIMUM, LFS_SUFFIXES, Content, StoredFile, Unfetched, default_lfs
from vcm.testing.faults import Fault
from vcm.testing.hub import HubSimulator
from vcm.testing.mock_server import MockHuggingFaceServer
from vcm.testing.repository import Commit, SimulatedRepo
from vcm.testing.server import LoggedRequest

__all__ = [
    "LFS_MINIMUM",
    "LFS_SUFFIXES",
    "Commit",
    "Content",
    "Fault",
    "HubSimulator",
    "LoggedRequest",
    "MockHuggingFaceServer",
    "SimulatedRepo",
    "StoredFile",
    "Unfetched",
    "default_lfs",
]
