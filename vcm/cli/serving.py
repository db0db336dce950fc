"""``serve``: the store as a Hub for the other machines of a local network."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Annotated

import typer

from vcm.cli.context import open_own_store, options
from vcm.cli.dispatch import command
from vcm.core.wording import byte_count, counted, listed, printable
from vcm.serve.catalog import Catalog
from vcm.serve.routes import Routes
from vcm.serve.server import Server
from vcm.serve.shelf import Shelf


@command("serve")
def serve(
    host: Annotated[
        str, typer.Option("--host", metavar="HOST", help="Where to listen; 0.0.0.0 lets the network in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="0: any that is free.")] = 8300,
) -> int:
    """Serve what is installed, as a Hub that is read-only.

    Every client of the Hub asks here where HF_ENDPOINT says so; vcm takes it for a mirror where VCM_MIRRORS does. There
    is no encryption and no password: whoever reaches the port may read all of it. One person's machine or one pod
    feeds the rest of a room or a cluster. For more than that, push to a registry (vcm push), or let nginx serve the
    store's folder.
    """
    store = open_own_store()
    server = Server(host, port)
    warned = set[str]()

    def warn_of_gated(catalog: Catalog) -> None:
        new = [repo for repo in catalog.gated if repo not in warned and not server.only_this_machine]
        warned.update(new)
        if new:
            _note(f"{listed(new)}: gated, and whoever reaches this port gets the files without accepting the terms")

    shelf = Shelf(store, _note, warn_of_gated)
    try:
        catalog = shelf.catalog()
        print(server.url, flush=True)
        if not options().quiet:
            _tell_usage(server, catalog, str(store.root))
        answer = Routes(shelf, only_this_machine=server.only_this_machine).answer
        server.run(answer, _tell if options().verbosity else lambda _: None)
    finally:
        server.close()
    return 0


def _tell_usage(server: Server, catalog: Catalog, folder: str) -> None:
    size = byte_count(sum(content.size for content in catalog.contents.values()))
    _tell(f"serving {counted(len(catalog.repos), 'model')} of {folder}, {size}; Ctrl-C ends it")
    _tell(f"  any client of the Hub: HF_ENDPOINT={server.url}")
    _tell(f"  vcm sync, as a mirror: VCM_MIRRORS={server.url}")
    if not catalog.contents:
        _note("nothing is installed here yet: what vcm sync installs is served at once")
    if server.only_this_machine:
        _tell("only this machine can reach it; --host 0.0.0.0 lets the network in")


def _note(text: str) -> None:
    _tell(f"note: {text}")


def _tell(text: str) -> None:
    # One write: other threads tell something, too. And who started this may not read it any more.
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{printable(text)}\n")
        sys.stderr.flush()
