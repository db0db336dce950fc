"""The models section of an application's YAML: every mistake is named, and nothing in it can do harm."""

from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vcm.core.manifest import Checksum
from vcm.core.yaml_config import LARGEST, YamlModels, YamlSource, parse_yaml_config
from vcm.errors import ConfigError

DIGEST = "ab" * 32
URL = "https://example.com/llava.onnx"

TEXT = f"""\
video:
  fps: 25          # the application's own business
models:
  cache_dir: ~/models
  auto_download: true
  sources:
    - name: "llava-7b"
      url: "{URL}"
      checksum: "{DIGEST}"
      size_bytes: 13_000_000_000
      algorithm: "sha256"
      optional: false
    - name: profanity-detector
      url: https://example.com/profanity.onnx
      checksum: {"cd" * 64}
      algorithm: SHA-512
      size_bytes: 500000000
      optional: yes
"""


def refused(text: str | bytes) -> tuple[str, str]:
    with pytest.raises(ConfigError) as raised:
        parse_yaml_config(text if isinstance(text, bytes) else text.encode(), "config.yaml")
    return raised.value.message, raised.value.hint


def source(**changes: str | None) -> str:
    """A file with one source; its name stands on line 3, and each key on a line of its own."""
    values: dict[str, str | None] = {
        "name": "llava-7b",
        "url": URL,
        "checksum": DIGEST,
        "size_bytes": "7",
        **changes,
    }
    lines = [f"{key}: {value}" for key, value in values.items() if value is not None]
    return "models:\n  sources:\n  - " + "\n    ".join(lines) + "\n"


def test_the_whole_section_is_read() -> None:
    assert parse_yaml_config(TEXT.encode(), "config.yaml") == YamlModels(
        cache_dir="~/models",
        auto_download=True,
        sources=(
            YamlSource(name="llava-7b", url=URL, checksum=Checksum("sha256", DIGEST), size_bytes=13_000_000_000),
            YamlSource(
                name="profanity-detector",
                url="https://example.com/profanity.onnx",
                checksum=Checksum("sha512", "cd" * 64),
                size_bytes=500_000_000,
                optional=True,
            ),
        ),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "null",
        "video: {fps: 25}\n",
        "models:\n",
        "models: {}\n",
        "models: {sources: null, cache_dir: null}\n",
        "models: {sources: []}\n",
    ],
)
def test_a_file_may_have_no_models(text: str) -> None:
    assert parse_yaml_config(text.encode(), "config.yaml") == YamlModels()


def test_what_is_not_ours_is_not_looked_at() -> None:
    text = 'a: !!python/object/apply:os.system ["exit 1"]\n<<: {b: 1}\n? [x]\n: 1\n2: 3\nmodels: {}\na: again\n'
    assert parse_yaml_config(text.encode(), "config.yaml") == YamlModels()


def test_a_byte_order_mark_is_no_letter() -> None:
    assert parse_yaml_config(b"\xef\xbb\xbf" + TEXT.encode(), "config.yaml").auto_download


def test_an_alias_stands_for_what_it_names() -> None:
    text = source(url=f"&address {URL}") + source(name="other", url="*address").partition("sources:\n")[2]
    assert [each.url for each in parse_yaml_config(text.encode(), "config.yaml").sources] == [URL, URL]


def test_a_checksum_may_carry_its_algorithm() -> None:
    for changes in ({"checksum": f"md5:{'ab' * 16}"}, {"checksum": f"md5:{'AB' * 16}", "algorithm": "MD5"}):
        (found,) = parse_yaml_config(source(**changes).encode(), "config.yaml").sources
        assert found.checksum == Checksum("md5", "ab" * 16)


MEND = "mend it in config.yaml"
PUBLISHER = "put the digest there that the file's publisher gives, or one computed from a copy you trust"
QUOTES = "put it in quotes"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        # not YAML
        ("models:\n\tsources: []\n", "config.yaml:2: not YAML: a tab", "indent with blanks"),
        (
            "models: [\n",
            "config.yaml:2: not YAML: expected the node content, but found '<stream end>'",
            "mend config.yaml:2",
        ),
        ("a: *b\n", "config.yaml:1: not YAML: found undefined alias 'b'", "mend config.yaml:1"),
        (b"models: {}\n# \xff\n", "config.yaml:2: not UTF-8 text", "save config.yaml as UTF-8"),
        ("models: {}\n# \x07\n", "config.yaml:2: not YAML: a character that YAML does not allow", MEND),
        ('models: "\\UFFFFFFFF"\n', "config.yaml: not YAML: a character or number that does not exist", MEND),
        ("[" * 600, "config.yaml: not YAML: nested too deeply", MEND),
        (
            "models: {}\n---\nmodels: {}\n",
            "config.yaml:2: a second document begins here",
            "keep one document in the file",
        ),
        (
            "#" * (LARGEST + 1),
            "config.yaml: longer than 262144 bytes",
            "name the application's configuration, which is shorter",
        ),
        # not such a section
        ("- models\n", "config.yaml: expected keys and values, found a list", MEND),
        ("models\n", 'config.yaml: expected keys and values, found "models"', MEND),
        ("\n\nmodels: 7\n", 'config.yaml:3: models: expected keys and values, found "7"', MEND),
        ("models: {}\nmodels: {}\n", "config.yaml:2: models: stands twice", "keep one of the two"),
        (
            "models:\n  source: []\n",
            'config.yaml:2: models.source: unknown key, did you mean "sources"?',
            "allowed here: cache_dir, sources, auto_download",
        ),
        ("models:\n  sources: llava\n", 'config.yaml:2: models.sources: expected an array, found "llava"', MEND),
        ("models:\n  sources: {}\n", "config.yaml:2: models.sources: expected an array, found a table", MEND),
        ("models:\n  ? [a]\n  : b\n", "config.yaml:1: models: expected keys that are words", MEND),
        (
            "models:\n  <<: {sources: []}\n",
            "config.yaml:2: models.<<: merged keys are not read",
            "write the keys out here",
        ),
        (
            "models:\n  cache_dir: 7\n",
            "config.yaml:2: models.cache_dir: expected a string, which YAML reads as a number without quotes",
            QUOTES,
        ),
        (
            'models:\n  cache_dir: "a\\u0007"\n',
            'config.yaml:2: models.cache_dir: found "a\x07": control characters are not allowed',
            MEND,
        ),
        (
            "models:\n  auto_download: 1\n",
            "config.yaml:2: models.auto_download: expected true or false, found 1",
            MEND,
        ),
        # not such a source
        (
            "models:\n  sources:\n  - llava\n",
            'config.yaml:3: models.sources[0]: expected keys and values, found "llava"',
            MEND,
        ),
        (source(name=None), 'config.yaml:3: models.sources[0]: the key "name" is missing', MEND),
        (source(url=None), 'config.yaml:3: models.sources[0]: the key "url" is missing', MEND),
        (source(checksum=None), 'config.yaml:3: models.sources[0]: the key "checksum" is missing', MEND),
        (source(size_bytes=None), 'config.yaml:3: models.sources[0]: the key "size_bytes" is missing', MEND),
        (source(url=""), 'config.yaml:3: models.sources[0]: the key "url" is missing', MEND),
        (
            source(name='""'),
            "config.yaml:3: models.sources[0].name: expected a string that is not empty",
            MEND,
        ),
        (
            source(name="no"),
            (
                "config.yaml:3: models.sources[0].name: expected a string, "
                "which YAML reads as true or false without quotes"
            ),
            QUOTES,
        ),
        (
            source(name="2024-01-01"),
            'config.yaml:3: models.sources[0].name: found "2024-01-01", to YAML a value of the kind timestamp',
            QUOTES,
        ),
        (
            source(name='"\\ud800"'),
            'config.yaml:3: models.sources[0].name: found "\ud800": control characters are not allowed',
            MEND,
        ),
        (
            source(url="example.com/llava.onnx"),
            (
                'config.yaml:4: models.sources[0].url: found "example.com/llava.onnx": '
                "a URL begins with http:// or https:// and names a host"
            ),
            MEND,
        ),
        (
            source(url="https://me:secret@example.com/a"),
            (
                'config.yaml:4: models.sources[0].url: found "https://***@example.com/a": '
                "a URL must not carry a user name or password"
            ),
            MEND,
        ),
        (
            source(url="https://huggingface.co/models/..."),
            (
                'config.yaml:4: models.sources[0].url: found "https://huggingface.co/models/...": '
                "the url gives no usable file name: Windows cannot hold a file called '...'"
            ),
            MEND,
        ),
        (
            source(checksum='"abc123..."'),
            'config.yaml:5: models.sources[0].checksum: found "abc123..." for "llava-7b": sha256 has 64 hex digits',
            PUBLISHER,
        ),
        (
            source(checksum="ab" * 20, algorithm="sha512"),
            (
                f'config.yaml:5: models.sources[0].checksum: found "{"ab" * 20}" for "llava-7b": '
                "sha512 has 128 hex digits"
            ),
            PUBLISHER,
        ),
        (
            source(checksum="1" * 64),
            (
                "config.yaml:5: models.sources[0].checksum: expected a string, "
                "which YAML reads as a number without quotes"
            ),
            QUOTES,
        ),
        (
            source(checksum="1" * 128, algorithm="sha512"),
            (
                f'config.yaml:5: models.sources[0].checksum: found "{"1" * 76}..., '
                "to YAML a value of the kind int"
            ),
            QUOTES,
        ),
        (
            source(algorithm="sha265"),
            (
                'config.yaml:7: models.sources[0].algorithm: no algorithm "sha265", did you mean "sha256"? '
                "Known are sha256, sha384, sha512, blake2b, sha1 and md5"
            ),
            MEND,
        ),
        (
            source(checksum=f"crc:{DIGEST}"),
            (
                'config.yaml:5: models.sources[0].checksum: no algorithm "crc". '
                "Known are sha256, sha384, sha512, blake2b, sha1 and md5"
            ),
            MEND,
        ),
        (
            source(checksum=f"sha256:{DIGEST}", algorithm="md5"),
            'config.yaml:5: models.sources[0].checksum: found "sha256:", which is not the algorithm "md5"',
            "keep one of the two",
        ),
        (
            source(size_bytes="4 GB"),
            'config.yaml:6: models.sources[0].size_bytes: expected a whole number, found "4 GB"',
            MEND,
        ),
        (
            source(size_bytes="1.5"),
            "config.yaml:6: models.sources[0].size_bytes: expected a whole number, found 1.5",
            MEND,
        ),
        (
            source(size_bytes="-1"),
            "config.yaml:6: models.sources[0].size_bytes: expected a whole number of at least 0, found -1",
            MEND,
        ),
        (
            source(size_bytes="!!int many"),
            'config.yaml:6: models.sources[0].size_bytes: found "many", to YAML a value of the kind int',
            QUOTES,
        ),
        (
            source(optional="maybe"),
            'config.yaml:7: models.sources[0].optional: expected true or false, found "maybe"',
            MEND,
        ),
        (
            source(sha256=DIGEST),
            "config.yaml:7: models.sources[0].sha256: unknown key",
            "allowed here: name, url, algorithm, checksum, size_bytes, optional",
        ),
        (
            source() + "  - name: llava-7b\n    url: https://example.com/b\n"
            f"    checksum: {DIGEST}\n    size_bytes: 1\n",
            'config.yaml:7: models.sources[1].name: "llava-7b" stands twice',
            "give each source a name of its own",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_used(text: str | bytes, message: str, hint: str) -> None:
    assert refused(text) == (message, hint)


def _doubling(kind: str) -> str:
    """Sixty lines that would be 2**60 values, if anybody wrote them out."""
    open_, close = {"list": ("[", "]"), "merge": ("{<<: [", "]}")}[kind]
    first = "{x: 1}" if kind == "merge" else "[]"
    lines = [f"a0: &a0 {first}"] + [f"a{n}: &a{n} {open_}*a{n - 1}, *a{n - 1}{close}" for n in range(1, 60)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            _doubling("list") + "models: {sources: *a59}",
            "config.yaml:59: models.sources[0]: expected keys and values, found a list",
        ),
        (_doubling("merge") + "models: *a59", "config.yaml:60: models.<<: merged keys are not read"),
        ("models: &m {sources: *m}", "config.yaml:1: models.sources: expected an array, found a table"),
        (
            "models:\n  sources: &s [*s]",
            "config.yaml:2: models.sources[0]: expected keys and values, found a list",
        ),
        (
            source(size_bytes="1" + ":1" * 100_000),
            (
                "config.yaml:6: models.sources[0].size_bytes: found "
                f'"1{":1" * 37}:..., to YAML a value of the kind int'
            ),
        ),
        ("? " * 100_000, "config.yaml: not YAML: nested too deeply"),
    ],
)  # fmt: skip
def test_a_bomb_does_not_go_off(text: str, message: str) -> None:
    started = time.process_time()
    assert refused(text)[0] == message
    assert time.process_time() - started < 10


WORDS = (
    "models sources : - name url checksum size_bytes optional &a *a [ ] { } , << !!int !!binary | > \" ' \\U00 % --- "
    f"... ? ~ # 1e9 0x yes 2024-01-01 = é {URL} {DIGEST}"
).split()
FRAGMENTS = st.lists(st.sampled_from([*WORDS, "\n", "  ", " ", "\t", "\ufeff", "\x85", "\0"]), max_size=30).map("".join)


def outcome(data: bytes) -> YamlModels | ConfigError:
    try:
        return parse_yaml_config(data, "config.yaml")
    except ConfigError as error:
        return error


@given(
    st.one_of(FRAGMENTS, FRAGMENTS.map("models:\n  sources:\n  - ".__add__)).map(str.encode) | st.binary(max_size=60)
)
def test_whatever_stands_there_is_read_or_refused(data: bytes) -> None:
    found = outcome(data)
    assert isinstance(found, YamlModels) or (found.message.startswith("config.yaml") and found.hint)


SOURCES = st.lists(
    st.builds(
        YamlSource,
        name=st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12),
        url=st.integers(0, 9).map(lambda number: f"https://example.com/{number}.onnx"),
        checksum=st.binary(min_size=16, max_size=16).map(lambda digest: Checksum("md5", digest.hex())),
        size_bytes=st.integers(0, 2**63 - 1),
        optional=st.booleans(),
    ),
    max_size=3,
    unique_by=lambda source: source.name,
)


@given(SOURCES, st.none() | st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1), st.booleans())
def test_what_another_program_writes_is_read_back(sources, cache_dir, auto_download) -> None:
    written = [
        {
            "name": each.name,
            "url": each.url,
            "checksum": each.checksum.hex,
            "size_bytes": each.size_bytes,
            "algorithm": "md5",
            "optional": each.optional,
        }
        for each in sources
    ]
    text = yaml.safe_dump({"models": {"cache_dir": cache_dir, "sources": written, "auto_download": auto_download}})
    assert parse_yaml_config(text.encode(), "config.yaml") == YamlModels(
        cache_dir=cache_dir, sources=tuple(sources), auto_download=auto_download
    )
