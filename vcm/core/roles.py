"""What a file of a model is for, by its name alone.

The first row of the table that fits decides. A name that no row knows is ``other``, which counts as a change that
matters: only what is surely documentation may change without anybody looking.

    weights     any weight format, and the index of its shards
    licence     LICENSE, NOTICE, COPYING, USE_POLICY … as plain text or a document
    code        what a loader may run: Python, scripts, native libraries, notebooks
    template    Jinja, and chat_template.json
    tokenizer   vocabularies, merges, SentencePiece and tiktoken models, and the settings beside them
                (a chat template may also stand inside tokenizer_config.json: it counts as tokenizer there)
    docs        README and other Markdown, images, .gitattributes
    config      every other JSON, YAML, TOML …
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, get_args

from vcm.core.formats import is_licence, weight_format

Role = Literal["weights", "tokenizer", "template", "config", "code", "licence", "docs", "other"]
ROLES: tuple[Role, ...] = get_args(Role)
"""In the order in which they are always listed: what matters most comes first."""

_TABLE: tuple[tuple[Role, str], ...] = (
    ("code", r".+\.(pyi?|pyc|pyd|so(\.\d+)*|dll|dylib|exe|sh|bat|ps1|[mc]?js|ts|cu|c|cc|cpp|h|hpp|rs|wasm|jar|ipynb)"),
    ("template", r".+\.(jinja2?|j2)|chat_templates?\.json"),
    ("tokenizer", r"tokenizer([._-].*)?\.(json|txt|vocab)|vocab.*\.(json|txt|bpe|tsv)"),
    ("tokenizer", r".+\.(model|spm|bpe|tiktoken|vocab)|(merges|tokens|dict)\.txt|bpe\.codes"),
    ("tokenizer", r"(special_tokens_map|added_tokens|tekken|normalizer|encoder)\.json"),
    ("docs", r"readme([._-].*)?|.+\.(mdx?|rst|pdf|bib)|\.gitattributes|\.gitignore"),
    ("docs", r".+\.(png|jpe?g|gif|svg|webp|bmp|ico|avif)"),
    ("config", r".+\.(json|jsonc|json5|jsonl|ya?ml|toml|ini|cfg|conf|pbtxt|gin)"),
)
_COMPILED = tuple((role, re.compile(pattern, re.IGNORECASE)) for role, pattern in _TABLE)


def role(path: str) -> Role:
    """What the file of that path is for."""
    if weight_format(path) is not None:
        return "weights"
    if is_licence(path):
        return "licence"
    name = path.rpartition("/")[2]
    return next((role for role, pattern in _COMPILED if pattern.fullmatch(name)), "other")


def in_order(roles: Iterable[Role]) -> tuple[Role, ...]:
    """Each role once, in the order of ``ROLES``."""
    return tuple(sorted(set(roles), key=ROLES.index))
