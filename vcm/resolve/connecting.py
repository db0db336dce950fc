"""The way to the hub that the settings describe, with what this machine knows of it already."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from vcm.core.metadata import Freshness
from vcm.core.reporter import Reporter
from vcm.http.budget import Budget
from vcm.http.client import Address, HttpClient
from vcm.http.retries import LONGEST_WAIT
from vcm.hub.answers import TTL_HOURS, Caching
from vcm.hub.client import HubClient
from vcm.settings import Settings
from vcm.store.metadata import MetadataStore


def connect(  # noqa: PLR0913  (each is one thing to know)
    settings: Settings,
    *,
    reporter: Reporter | None = None,
    cancelled: Event | None = None,
    sleep: Callable[[float], object] | None = None,
    freshness: Freshness = "normal",
    ttl_hours: float = TTL_HOURS,
    http: HttpClient | None = None,
) -> HubClient:
    """A client of the hub; offline, one that knows what the metadata cache holds. Nothing is asked yet.

    Args:
        settings: where the hub and the cache are, and what may be sent.
        reporter: told when the hub has to be waited for.
        cancelled: once set, waiting ends with KeyboardInterrupt.
        sleep: waits so many seconds; by default until ``cancelled`` is set.
        freshness: which known answers do.
        ttl_hours: how long an answer serves that may change.
        http: that of a client with the same settings, to go on with its connections and what the hub still allows it.

    Raises:
        ConfigError: the token cannot be sent.
        RegistryError: the file of certificates is not there.
    """
    # Who asks nobody needs no token, and no certificate either.
    token = settings.token.checked() if settings.token and not settings.offline else None
    address = Address(settings.endpoint, token.text if token else None, settings.ca_bundle)
    over = cancelled or Event()
    rest = sleep or over.wait

    def tell(seconds: float, reason: str) -> None:
        if reporter is not None:
            reporter.waiting("the hub", seconds, reason)

    def wait(seconds: float, reason: str) -> None:
        tell(seconds, reason)
        rest(seconds)
        if over.is_set():
            raise KeyboardInterrupt

    # A token that is withheld from this hub would not help.
    advice = "" if token or settings.withheld_token else "; HF_TOKEN raises the limit"
    budget = Budget(tell=tell, rest=rest, cancelled=over, longest=LONGEST_WAIT, advice=advice)
    return HubClient(
        http or HttpClient(address, is_offline=settings.offline, budget=budget),
        address,
        token_source=token.source if token else None,
        wait=wait,
        caching=Caching(store=MetadataStore(settings.cache_dir), ttl_hours=ttl_hours, freshness=freshness),
    )
