"""Redistribution: whether a model's licence clearly lets others hand on its files, which is what a mirror does.

Nobody is kept from anything: whoever mirrors may have a contract, or a mirror that only they can read.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vcm.core.lock import LockedModel

# The Hub's ids: https://huggingface.co/docs/hub/repositories-licenses. All of these let anybody pass on unchanged
# copies, also for money. Not among them are those that exclude somebody or some use of the copies (cc-by-nc-*), and
# those of single publishers (llama*, gemma), which ask for more than the files to be handed on. After a ``-``, any
# version may follow.
REDISTRIBUTABLE = frozenset(
    """
    afl agpl apache artistic bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl cc-by cc-by-nd cc-by-sa cc0
    cdla-permissive cdla-sharing ecl epl etalab eupl gfdl gpl isc lgpl lgpl-lr lppl mit mpl ms-pl ncsa odbl odc-by ofl
    openmdw osl pddl postgresql unlicense wtfpl zlib
    bigcode-openrail-m bigscience-bloom-rail bigscience-openrail-m creativeml-openrail-m openrail openrail++
    """.split()  # noqa: SIM905  (a table, to be read)
)
"""Licences without their versions."""


def is_redistributable(licence: str | None) -> bool:
    """Whether a licence, as the lock has it, is known to let anybody hand on copies; where it names several, each."""
    named = [each.strip().lower() for each in (licence or "").split(",")]
    return all(_without_version(each) in REDISTRIBUTABLE for each in named)


def caution(model: LockedModel, readers: str) -> str | None:
    """What whoever hands on a model should look at first, in a sentence; None where nothing stands against it.

    Args:
        model: which.
        readers: who can read it then, as the end of a sentence about a model that is gated.
    """
    if model.gated is not None:
        return f"{model.name}: its publisher decides who gets it, and {readers}"
    if is_redistributable(model.license):
        return None
    named = f'its licence is "{model.license}"' if model.license else "it states no licence"
    return f"{model.name}: {named}, and mirroring is redistribution: check whether it allows that"


def _without_version(licence: str) -> str:
    return re.sub(r"-[0-9][0-9.]*c?$", "", licence)
