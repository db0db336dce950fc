"""Settings: the one reader of the environment. Everything below gets plain values.

Honoured: VCM_CACHE_DIR, VCM_OFFLINE, VCM_PROJECT, VCM_MIRRORS, and as users of the Hub expect HF_ENDPOINT, HF_TOKEN,
HF_TOKEN_PATH, HF_HOME, HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HUB_OFFLINE, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE,
SSL_CERT_FILE, and NO_COLOR; as users of podman and docker expect REGISTRY_AUTH_FILE and DOCKER_CONFIG. The proxy
variables are read by requests, per address. The user's own configuration, config.toml in vcm's folder for such files,
is read here, and what the environment says to a program that is started on the locked models stands here, too.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from vcm.core import names
from vcm.core.records import record
from vcm.core.wording import byte_count, system_reason
from vcm.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from vcm.core.mirror_config import UserConfiguration
    from vcm.core.mirrors import Mirror

DEFAULT_ENDPOINT = "https://huggingface.co"
_LARGEST_CONFIGURATION = 1 << 20  # bytes
_OFFLINE_SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "LLAMA_ARG_OFFLINE")
_OTHER_CACHES = (
    "TRANSFORMERS_CACHE",
    "PYTORCH_TRANSFORMERS_CACHE",
    "PYTORCH_PRETRAINED_BERT_CACHE",
    "SENTENCE_TRANSFORMERS_HOME",
    "LLAMA_CACHE",
)


@record(frozen=True)
class Token:
    """A credential for the hub, and where it was found. Its text is in no ``repr``."""

    text: str
    source: str

    def __repr__(self) -> str:
        return f"Token(source={self.source!r})"

    def checked(self) -> Token:
        """The token itself, if it can be sent. Only who sends it asks: the gate needs none.

        Raises:
            ConfigError: it holds characters no token has. The text is not repeated: it is a secret, if a damaged one.
        """
        if not names.is_token(self.text):
            raise ConfigError(
                f"the token in {self.source} holds characters no token has", hint=f"set {self.source} again"
            )
        return self


@record(frozen=True, kw_only=True)
class Settings:
    """What the environment, the command line and the manifest say together.

    Attributes:
        cache_dir: the store's folder.
        endpoint: base address of the hub, without a trailing slash.
        token: what to send to the hub's origin; None also when the endpoint is not trusted with it.
        withheld_token: where a token was found that the endpoint, which stands only in the manifest, does not get.
        ca_bundle: certificates to trust instead of the built-in ones.
        hub_cache: the Hugging Face cache of this machine, which may not exist; None where none shall be looked at.
        mirrors: who is asked for a locked file's bytes before the hub, in this order.
        fallback: whether the hub, or a url's own server, is asked for what no mirror has.
        strict_mirrors: whether it is an error when a mirror sends wrong bytes, although another source may do better.
    """

    cache_dir: Path
    endpoint: str = DEFAULT_ENDPOINT
    token: Token | None = None
    withheld_token: str | None = None
    offline: bool = False
    ca_bundle: str | None = None
    hub_cache: Path | None = None
    mirrors: tuple[Mirror, ...] = ()
    fallback: bool = True
    strict_mirrors: bool = False


def read_settings(  # noqa: PLR0913  (all go by name)
    *,
    environ: Mapping[str, str] | None = None,
    cache_dir: str | Path | None = None,
    offline: bool = False,
    manifest_endpoint: str | None = None,
    manifest_cache_dir: str | None = None,
    manifest_mirrors: tuple[Mirror, ...] = (),
    manifest_fallback: bool = True,
    project_dir: Path | None = None,
) -> Settings:
    """The settings in force: arguments, the environment, the manifest, the user's own configuration, in this order.

    Mirrors are those that VCM_MIRRORS names; else the user's own, and behind them the manifest's.

    Raises:
        ConfigError: a variable, or the user's own configuration, holds something that cannot be used.
    """
    environ = os.environ if environ is None else environ
    own = _user_configuration(environ)
    chosen, own_endpoint = _endpoint(environ), own.endpoint if own else None
    endpoint = chosen or manifest_endpoint or own_endpoint or DEFAULT_ENDPOINT
    token = _token(environ)
    # A models.toml may come from a stranger: an endpoint that only it names gets no token.
    trusted = endpoint in (chosen, own_endpoint, DEFAULT_ENDPOINT)
    return Settings(
        cache_dir=cache_folder(
            argument=cache_dir, manifest=manifest_cache_dir, project_dir=project_dir, environ=environ
        ),
        endpoint=endpoint,
        token=token if trusted else None,
        withheld_token=token.source if token and not trusted else None,
        offline=offline or _truthy(environ, "VCM_OFFLINE") or _truthy(environ, "HF_HUB_OFFLINE"),
        ca_bundle=_first(environ, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"),
        hub_cache=_hub_cache(environ),
        mirrors=_mirrors(environ, own.mirrors if own else (), manifest_mirrors),
        fallback=manifest_fallback and (own is None or own.fallback),
    )


def hub_endpoint(manifest: str | None, environ: Mapping[str, str] | None = None) -> str:
    """The hub's base address: HF_ENDPOINT, what the manifest or the user's own configuration says, or the Hub itself.

    Raises:
        ConfigError: HF_ENDPOINT holds no address, or the configuration cannot be used.
    """
    environ = os.environ if environ is None else environ
    chosen = _endpoint(environ) or manifest
    if chosen:
        return chosen
    own = _user_configuration(environ)
    return (own.endpoint if own else None) or DEFAULT_ENDPOINT


def _mirrors(environ: Mapping[str, str], own: tuple[Mirror, ...], projects: tuple[Mirror, ...]) -> tuple[Mirror, ...]:
    named = environ.get("VCM_MIRRORS", "").strip()
    if not (named or (own and projects)):
        return own or projects

    from vcm.core.mirror_config import merged, parse_addresses

    return parse_addresses(named) if named else merged(own, projects)


def user_configuration_path(environ: Mapping[str, str] | None = None) -> Path | None:
    """Where the user's own configuration is, if there is one; None for a user without a home."""
    environ = os.environ if environ is None else environ
    # As for the cache: to say the same, platformdirs would take longer than a gate.
    if sys.platform == "linux" and "ANDROID_ROOT" not in os.environ:
        chosen, home = environ.get("XDG_CONFIG_HOME", ""), environ.get("HOME", "")
        if chosen.startswith("/"):
            return Path(chosen, "vcm", "config.toml")
        if home.startswith("/") and not chosen:
            return Path(home, ".config", "vcm", "config.toml")
    import platformdirs

    try:
        return Path(platformdirs.user_config_dir("vcm", appauthor=False), "config.toml")
    except RuntimeError:
        return None


def _user_configuration(environ: Mapping[str, str]) -> UserConfiguration | None:
    path = user_configuration_path(environ)
    if path is None:
        return None
    try:
        status = path.stat()
        # Opening a pipe would wait for ever, and a device may have no end.
        data = path.read_bytes() if stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST_CONFIGURATION else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(path, system_reason(error)) from error
    if data is None:
        raise _unreadable(path, f"no regular file of at most {byte_count(_LARGEST_CONFIGURATION)}")

    from vcm.core.mirror_config import parse_user_configuration

    return parse_user_configuration(data, file_name=str(path))


def _unreadable(path: Path, reason: str) -> ConfigError:
    return ConfigError(f"cannot read {path}: {reason}", hint="check that it is a file you may read, or remove it")


def project_folder(environ: Mapping[str, str] | None = None) -> Path | None:
    """The project's folder that VCM_PROJECT names."""
    text = (os.environ if environ is None else environ).get("VCM_PROJECT")
    return Path.cwd() / _expanded(text) if text else None


def registry_credential_files(environ: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Where docker and podman keep the credentials of OCI registries; the first that knows a registry counts.

    containers-auth.json(5), and https://docs.docker.com/reference/cli/docker/#configuration-files.
    """
    environ = os.environ if environ is None else environ
    named, runtime = environ.get("REGISTRY_AUTH_FILE"), environ.get("XDG_RUNTIME_DIR")
    places = [
        *([named] if named else []),
        *([os.path.join(runtime, "containers/auth.json")] if runtime else []),  # noqa: PTH118
        os.path.join(environ.get("XDG_CONFIG_HOME") or "~/.config", "containers/auth.json"),  # noqa: PTH118
        os.path.join(environ.get("DOCKER_CONFIG") or "~/.docker", "config.json"),  # noqa: PTH118
    ]
    expanded = [_expanded(place) for place in places]
    # Without a home, ~ would be a folder of the project's.
    return tuple(dict.fromkeys(Path.cwd() / place for place in expanded if place.parts[:1] != ("~",)))


def program_environment(hub: Path, project: Path, cache_dir: Path) -> dict[str, str | None]:
    """What the environment has to say to a program that shall find a Hub-shaped view, and nothing else.

    HF_HUB_CACHE and HUGGINGFACE_HUB_CACHE are read by huggingface_hub of every age, and by what is written in other
    languages. What would lead past them is taken away: transformers before 5 reads TRANSFORMERS_CACHE and its older
    names first, sentence-transformers SENTENCE_TRANSFORMERS_HOME, llama.cpp LLAMA_CACHE. The last does not know
    HF_HUB_OFFLINE; LLAMA_ARG_OFFLINE is its ``--offline``. Tokens stay: the program may need one for something else,
    and offline none is sent.

    Args:
        hub: the view's cache.
        project: the project's folder.
        cache_dir: the store's.

    Returns:
        By variable, its text; None for those that must not be set.
    """
    paths = {"HF_HUB_CACHE": hub, "HUGGINGFACE_HUB_CACHE": hub, "VCM_PROJECT": project, "VCM_CACHE_DIR": cache_dir}
    return {
        **{name: str(path.absolute()) for name, path in paths.items()},
        **dict.fromkeys(_OFFLINE_SWITCHES, "1"),
        **dict.fromkeys(_OTHER_CACHES),
    }


def read_hub_cache() -> tuple[str, bool]:
    """What the official client would read now: its cache's folder, and whether it is offline."""
    switch = "HF_HUB_OFFLINE" if os.environ.get("HF_HUB_OFFLINE") else "TRANSFORMERS_OFFLINE"
    return str(_hub_cache(os.environ)), _truthy(os.environ, switch)


def environment_with(changes: Mapping[str, str | None]) -> dict[str, str]:
    """This process's environment with some changes, for another program."""
    changed = {**os.environ, **changes}
    return {name: text for name, text in changed.items() if text is not None}


def change_environment(changes: Mapping[str, str | None]) -> dict[str, str | None]:
    """Change this process's environment; what comes back undoes it."""
    before = {name: os.environ.get(name) for name in changes}
    for name, text in changes.items():
        if text is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = text
    return before


def colors_are_unwanted(environ: Mapping[str, str] | None = None) -> bool:
    """Whether NO_COLOR is set (https://no-color.org), or the terminal knows none (TERM=dumb)."""
    environ = os.environ if environ is None else environ
    return bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"


def terminal_is_plain(environ: Mapping[str, str] | None = None) -> bool:
    """Whether what looks like a terminal cannot move its cursor (TERM=dumb), or is read as a log (CI)."""
    environ = os.environ if environ is None else environ
    return environ.get("TERM") == "dumb" or environ.get("CI", "").lower() not in ("", "0", "false")


def _first(environ: Mapping[str, str], *variables: str) -> str | None:
    return next((environ[name] for name in variables if environ.get(name)), None)


def _truthy(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")


def _endpoint(environ: Mapping[str, str]) -> str | None:
    text = environ.get("HF_ENDPOINT", "").strip().rstrip("/")
    if not text:
        return None
    try:
        return names.http_url(text)
    except ValueError as error:
        raise ConfigError(f"HF_ENDPOINT: {error}", hint=f"set it to an address such as {DEFAULT_ENDPOINT}") from None


def _token(environ: Mapping[str, str]) -> Token | None:
    if _truthy(environ, "HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        return None
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if environ.get(name, "").strip():
            return Token(environ[name].strip(), name)
    path = _token_path(environ)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return Token(text.strip(), str(path)) if text.strip() else None


def _token_path(environ: Mapping[str, str]) -> Path:
    if environ.get("HF_TOKEN_PATH"):
        return _expanded(environ["HF_TOKEN_PATH"])
    return _hub_home(environ) / "token"


def _hub_cache(environ: Mapping[str, str]) -> Path:
    chosen = _first(environ, "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")
    return Path.cwd() / (_expanded(chosen) if chosen else _hub_home(environ) / "hub")


def _hub_home(environ: Mapping[str, str]) -> Path:
    home = environ.get("HF_HOME")
    if not home:
        home = os.path.join(environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")  # noqa: PTH118
    return _expanded(home)


def _expanded(text: str) -> Path:
    # Path.expanduser raises where there is no home; os.path leaves the text as it is.
    return Path(os.path.expandvars(os.path.expanduser(text)))  # noqa: PTH111


def is_cache_named(argument: str | Path | None) -> bool:
    """Whether the argument or VCM_CACHE_DIR names the store's folder, whatever a manifest says."""
    return bool(argument or os.environ.get("VCM_CACHE_DIR"))


def cache_folder(
    *,
    argument: str | Path | None = None,
    manifest: str | None = None,
    project_dir: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Path:
    """The store's folder: the argument, VCM_CACHE_DIR, what the manifest says, or the platform's own place.

    Raises:
        ConfigError: nobody names it, and the user has no home.
    """
    chosen = argument or (os.environ if environ is None else environ).get("VCM_CACHE_DIR")
    if chosen:
        return Path.cwd() / _expanded(str(chosen))
    if manifest:
        # No variables here: a stranger's manifest could have a secret of the environment written to the disk.
        return (project_dir or Path.cwd()) / os.path.expanduser(manifest)  # noqa: PTH111
    home = os.environ.get("HOME", "")
    if sys.platform == "linux" and home.startswith("/") and not os.environ.keys() & {"XDG_CACHE_HOME", "ANDROID_ROOT"}:
        # What platformdirs says then; but to say it, it imports as much as a whole gate does.
        return Path(home, ".cache", "vcm")
    import platformdirs

    try:
        return Path(platformdirs.user_cache_dir("vcm", appauthor=False))
    except RuntimeError:
        raise ConfigError(
            "this user has no home, so nobody knows where the store is", hint="set VCM_CACHE_DIR, or HOME"
        ) from None
