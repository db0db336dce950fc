"""When a mirror is not asked any more, and how long one file waits for one: rules over values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcm.errors import AUTHENTICATION_ERROR, ModelNotFoundError, RegistryError
from vcm.http.faults import NetworkFaultError, UnreachableError
from vcm.install.health import Event, Health, MirrorPatience, Standing, event_of
from vcm.install.source import OtherFileError

EVENTS = st.lists(st.sampled_from(Event), max_size=12)
FATAL = {Event.UNREACHABLE, Event.LIED}


@given(EVENTS)
def test_what_switches_a_mirror_off(events):
    standing = Standing()
    for event in events:
        standing = standing.after(event)
    in_a_row = any(all(each is Event.FAILED for each in events[start : start + 3]) for start in range(len(events) - 2))
    assert standing.is_off is (in_a_row or not FATAL.isdisjoint(events))
    assert standing.is_denied is (Event.DENIED in events)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(Event)), max_size=20))
def test_there_is_one_warning_of_each_mirror_that_is_off(events):
    notices: list[str] = []
    health = Health(notices.append)
    for mirror, event in events:
        health.note(mirror, event, event.value)
    assert not health.is_off(None), "an origin is always asked"
    for mirror in "ab":
        told = [each for each in notices if each.startswith(f"mirror {mirror} is not asked any more in this run: ")]
        assert len(told) == health.is_off(mirror)
        denied = [each for each in notices if each.startswith(f"mirror {mirror}: ")]
        assert len(denied) <= ((mirror, Event.DENIED) in events)


@pytest.mark.parametrize(
    ("error", "event"),
    [
        (OtherFileError("1 bytes", "2 bytes"), Event.LIED),
        (UnreachableError("x"), Event.UNREACHABLE),
        (NetworkFaultError("x"), Event.FAILED),
        (NetworkFaultError("x", retry_after=1.0), Event.FAILED),
        (RegistryError("x"), Event.FAILED),
        (RegistryError("x", error_code=AUTHENTICATION_ERROR), Event.DENIED),
        (ModelNotFoundError("x"), Event.ANSWERED),
    ],
)
def test_what_an_error_says_of_a_mirror(error, event):
    assert event_of(error) is event


ERRORS = st.one_of(
    st.just(NetworkFaultError("fault")),
    st.floats(0, 1e6).map(lambda seconds: NetworkFaultError("busy", retry_after=seconds)),
    st.just(UnreachableError("nobody")),
    st.just(RegistryError("no")),
)


@given(st.lists(ERRORS, min_size=5, max_size=5))
def test_a_file_waits_for_a_mirror_a_few_times_and_never_long(errors):
    waits: list[float] = []
    patience = MirrorPatience(lambda seconds, _: waits.append(seconds), lambda: False)

    def try_on() -> None:
        for error in errors:
            patience.rest(error)

    with pytest.raises(RegistryError) as caught:
        try_on()
    assert len(waits) <= 4
    assert all(seconds <= 30 for seconds in waits)
    given_up = errors[len(waits)]
    assert caught.value is given_up
    if type(given_up) is NetworkFaultError:
        same = [each for each in errors[: len(waits)] if (each.retry_after is None) == (given_up.retry_after is None)]
        assert len(same) == 2


def test_what_others_found_out_ends_the_waiting():
    off: list[bool] = []
    patience = MirrorPatience(lambda *_: off.append(True), lambda: bool(off))
    with pytest.raises(NetworkFaultError):
        patience.rest(NetworkFaultError("x"))
    assert off == [True]
    with pytest.raises(NetworkFaultError):
        patience.rest(NetworkFaultError("x"))
    assert off == [True], "not another wait"
