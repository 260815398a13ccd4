"""`frontend: conformer`: the encoder of a NeMo Conformer that was trained to recognise speech."""

import os
from collections.abc import Iterable
from pathlib import Path

from wedefense.config.frontend import ConformerOptions
from wedefense.frontend.conformer.architecture import ConformerArchitecture
from wedefense.frontend.conformer.encoder import ConformerEncoder
from wedefense.frontend.conformer.nemo import read_nemo
from wedefense.frontend.names import CONFORMERS, NEMO, find_conformer, unknown_conformer
from wedefense.frontend.pretrained import PretrainedFrontend
from wedefense.utils.download import cache_dir, fetch, file_name, is_url
from wedefense.utils.hub import Repository


class ConformerFrontend(PretrainedFrontend):
    """A `.nemo` file, a hub id that has one, or a name of the table. `architecture`: weights are loaded afterwards."""

    def __init__(self, options: ConformerOptions, sample_rate: int = 16000,
                 architecture: ConformerArchitecture | None = None):
        state = None
        if architecture is None:
            upstream = options.upstream_args
            architecture, state = read_nemo(find_nemo(upstream.name, upstream.path_or_url, options.download_dir))
        encoder = ConformerEncoder(architecture)
        if state is not None:
            encoder.load_state_dict(state)
        super().__init__(options, sample_rate, encoder, architecture.dim, architecture.num_blocks + 1,
                         architecture.stride, 2 * architecture.hop)

    @property
    def architecture(self) -> ConformerArchitecture:
        return self.upstream.architecture

    @staticmethod
    def serves(name: str) -> bool:
        return name.endswith(NEMO) or find_conformer(name) is not None

    @staticmethod
    def model_names() -> Iterable[str]:
        return CONFORMERS

    @staticmethod
    def summary(name: str, download_dir: str | None) -> dict[str, str]:
        shape, state = read_nemo(find_nemo(name, None, download_dir))
        count = sum(tensor.numel() for key, tensor in state.items() if not key.startswith("featurizer."))
        return {"family": "conformer", "format": "NeMo", "layers": f"{shape.num_blocks} blocks of {shape.dim}",
                "parameters": f"{count:,}", "input": f"{shape.mel_bins} log-mel bands, a frame every "
                f"{shape.stride / 16:g} ms"}


def find_nemo(name: str, path_or_url: str | None, download_dir: str | os.PathLike | None) -> Path:
    """The file on disk, fetched if need be."""
    reference = path_or_url or name
    path = Path(reference).expanduser()
    if path.is_file():
        return path
    if is_url(reference):
        return fetch(reference, cache_dir(download_dir) / file_name(reference))
    model = find_conformer(reference)
    if model is None:
        raise unknown_conformer(reference)
    placed = cache_dir(download_dir) / model.file
    return placed if placed.is_file() else Repository(model.hub_id, download_dir=download_dir).get(model.file)
