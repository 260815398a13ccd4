"""Ranks that were started with other configs or other lists: refused before they train together."""

import hashlib
from collections.abc import Mapping

from wedefense.config.schema import Config
from wedefense.config.typed import to_builtin
from wedefense.data.catalogue import Catalogue
from wedefense.utils.distributed import gather
from wedefense.utils.errors import InputError

# Where a machine keeps its copies; what is in them is compared.
_PLACES = ("train_data", "train_label", "val_data", "val_label", "noise_data", "reverb_data", "model_init",
           "checkpoint", "download_dir", "path_or_url")


def require_agreement(config: Config, catalogues: Mapping[str, Catalogue]) -> None:
    """`InputError` on every rank where one has another config, or other utterances or labels in a list, than the first.

    `catalogues`: the utterances of each list, by the key that names it.
    """
    own = {key: value for key, value in _flat(to_builtin(config)).items() if key.split(".")[-1] not in _PLACES}
    own |= {key: _digest(catalogue) for key, catalogue in catalogues.items()}
    everyone = gather(own)
    for rank, other in enumerate(everyone):
        for key in sorted(everyone[0].keys() | other.keys()):
            first, here = everyone[0].get(key), other.get(key)
            if first == here:
                continue
            if key in catalogues:
                raise InputError(f"{key}: rank {rank} has other utterances or labels than rank 0 ({here} and {first}); "
                                 "give every machine the same list")
            raise InputError(f"{key}: is {here!r} on rank {rank} and {first!r} on rank 0; give every rank the same "
                             "config and options")


def _digest(catalogue: Catalogue) -> str:
    digest = hashlib.sha256()
    for utterance in catalogue:
        digest.update(f"{utterance.key}\t{utterance.label}\n".encode())
    return f"{len(catalogue)} utterances, {digest.hexdigest()[:12]}"


def _flat(tree: dict, prefix: str = "") -> dict:
    flat: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
