"""Errors: codes, exit codes, what they print, and that they survive a process boundary."""

from __future__ import annotations

import copy
import pickle
import traceback
from collections.abc import Callable

import pytest

from vcm import errors
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

CODES = {
    "LOCK_OUTDATED": 1,
    "NOT_INSTALLED": 1,
    "POLICY_VIOLATION": 1,
    "CONFIG_ERROR": 2,
    "NETWORK_ERROR": 3,
    "AUTHENTICATION_ERROR": 3,
    "NOT_FOUND": 3,
    "CHECKSUM_MISMATCH": 4,
    "INSUFFICIENT_SPACE": 5,
    "PERMISSION_ERROR": 5,
}


@pytest.mark.parametrize(("code", "exit_code"), CODES.items())
def test_the_exit_code_follows_from_the_error_code(code, exit_code):
    assert getattr(errors, code) == code
    assert VcmError("x", error_code=code).exit_code == exit_code


def test_there_is_no_other_code():
    assert errors.EXIT_CODES == CODES


@pytest.mark.parametrize(
    ("kind", "parent", "code"),
    [
        (VcmError, Exception, "CONFIG_ERROR"),
        (ConfigError, VcmError, "CONFIG_ERROR"),
        (LockError, VcmError, "LOCK_OUTDATED"),
        (RegistryError, VcmError, "NETWORK_ERROR"),
        (ModelNotFoundError, RegistryError, "NOT_FOUND"),
        (ModelDownloadError, VcmError, "NETWORK_ERROR"),
        (ModelRegistryError, VcmError, "PERMISSION_ERROR"),
        (VideoError, VcmError, "CONFIG_ERROR"),
    ],
)
def test_each_class_has_its_parent_and_its_code(kind, parent, code):
    assert kind.__bases__ == (parent,)
    error = kind("no luck")
    assert (error.error_code, kind.error_code) == (code, code)
    assert (error.message, error.hint, error.model, error.file, error.retry_after) == (
        "no luck",
        # Whatever a hub did, there is something to look at.
        "check HF_ENDPOINT; if it is right, tell whoever runs that hub" if issubclass(kind, RegistryError) else "",
        None,
        None,
        None,
    )


def test_a_code_of_its_own_stays_with_one_error():
    assert RegistryError("x", error_code="AUTHENTICATION_ERROR").error_code == "AUTHENTICATION_ERROR"
    assert RegistryError("x").error_code == "NETWORK_ERROR"


def test_wrong_bytes_say_what_was_expected_and_found():
    error = ModelChecksumError("wrong bytes", expected="a", actual="b", model="frames", file="m.onnx", hint="retry")
    assert isinstance(error, ModelDownloadError)
    assert (error.expected, error.actual, error.error_code, error.exit_code) == ("a", "b", "CHECKSUM_MISMATCH", 4)
    assert (str(error), error.hint) == ("frames/m.onnx: wrong bytes", "retry")


def test_too_little_room_says_how_much():
    error = DiskSpaceError("no room", needed=2, free=1, hint="make room")
    assert isinstance(error, ModelDownloadError)
    assert (error.needed, error.free, error.error_code, error.exit_code) == (2, 1, "INSUFFICIENT_SPACE", 5)
    assert (str(error), error.hint) == ("no room", "make room")


@pytest.mark.parametrize(
    ("model", "file", "text"),
    [
        (None, None, "no luck"),
        ("frames", None, "frames: no luck"),
        ("frames", "onnx/m.onnx", "frames/onnx/m.onnx: no luck"),
        (None, "m.onnx", "m.onnx: no luck"),
        ("", "", "no luck"),
    ],
)
def test_the_text_begins_with_model_and_file(model, file, text):
    assert str(VcmError("no luck", model=model, file=file)) == text


EVERY = [
    *(
        kind("no luck", hint="try", error_code="NOT_INSTALLED", model="m", file="f", retry_after=2.5)
        for kind in (VcmError, ConfigError, LockError, RegistryError, ModelNotFoundError, ModelDownloadError)
    ),
    ModelRegistryError("no luck", hint="try"),
    VideoError("no luck", hint="try", file="a.mp4"),
    ModelChecksumError("wrong", expected="a", actual="b", hint="h", model="m", file="f"),
    DiskSpaceError("full", needed=3, free=1, hint="h"),
    PolicyError("no", violations=["m: licenses: x"], details=["a", "b"], hint="h", model="m"),
]


def subclasses(kind: type[VcmError]) -> set[type[VcmError]]:
    return {kind}.union(*(subclasses(each) for each in kind.__subclasses__()))


def test_every_class_of_the_module_is_tried_below():
    assert {type(error) for error in EVERY} == {
        each for each in subclasses(VcmError) if each.__module__ == "vcm.errors"
    }


def pickled(protocol: int) -> Callable[[VcmError], VcmError]:
    return lambda error: pickle.loads(pickle.dumps(error, protocol))  # noqa: S301


WAYS: list[Callable[[VcmError], VcmError]] = [
    *map(pickled, range(pickle.HIGHEST_PROTOCOL + 1)),
    copy.copy,
    copy.deepcopy,
]


@pytest.mark.parametrize("cross", WAYS)
@pytest.mark.parametrize("error", EVERY, ids=lambda error: type(error).__name__)
def test_an_error_crosses_a_process_boundary_whole(error, cross):
    again = cross(error)
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert (str(again), again.args, again.exit_code) == (str(error), error.args, error.exit_code)


def test_what_was_added_later_crosses_too():
    error = ConfigError("x")
    error.message, error.hint, error.model = "y", "z", "m"
    again = copy.copy(error)
    assert (str(again), again.hint, again.model) == ("m: y", "z", "m")


def test_a_traceback_ends_with_the_hint():
    assert traceback.format_exception_only(LockError("stale", hint="run vcm lock")) == [
        "vcm.errors.LockError: stale\n",
        "hint: run vcm lock\n",
    ]
    assert traceback.format_exception_only(LockError("stale")) == ["vcm.errors.LockError: stale\n"]


def test_a_traceback_shows_the_details_below_the_message():
    error = ConfigError("which?", details=["this", "that"], hint="choose")
    assert (str(error), error.details) == ("which?", ("this", "that"))
    assert traceback.format_exception_only(error) == [
        "vcm.errors.ConfigError: which?\n",
        "  this\n",
        "  that\n",
        "hint: choose\n",
    ]


def test_a_violation_of_the_policy_keeps_its_facts():
    error = PolicyError("no", violations=iter(["a", "b"]), details=iter(["x"]), model="m")
    assert (error.violations, error.details, error.error_code, error.exit_code) == (
        ("a", "b"),
        ("x",),
        "POLICY_VIOLATION",
        1,
    )
