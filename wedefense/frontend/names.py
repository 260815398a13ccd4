"""Names of pretrained models beside those of `frontend.ssl.zoo`, and which name is none's. Without torch."""

import ast
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wedefense.config.frontend import ConformerOptions, PretrainedOptions, S3prlOptions, WhisperOptions
from wedefense.config.schema import Config
from wedefense.frontend.conformer.architecture import FAST_LARGE, LARGE, ConformerArchitecture
from wedefense.frontend.ssl import source
from wedefense.frontend.ssl.zoo import find_model
from wedefense.utils.download import is_url
from wedefense.utils.errors import InputError, did_you_mean

NEMO = ".nemo"
_NATIVE = re.compile(r"(wavlm|wav2vec2|hubert|data2vec|unispeech_sat)_(local|url|custom)")


@dataclass(frozen=True)
class Conformer:
    hub_id: str
    architecture: ConformerArchitecture

    @property
    def file(self) -> str:
        return f"{self.hub_id.split('/')[1]}{NEMO}"


WHISPERS = {f"whisper_{size}": f"openai/whisper-{size.replace('_', '-')}"
            for size in ("tiny", "base", "small", "medium", "large", "large_v2", "large_v3")}
CONFORMERS = {model.hub_id.split("/")[1]: model for model in (
    Conformer("nvidia/stt_en_conformer_ctc_large", LARGE),
    Conformer("nvidia/stt_en_fastconformer_ctc_large", FAST_LARGE))}


def require_known(config: Config) -> None:
    """Refuse a name that stands for no pretrained model, before anything is fetched or loaded."""
    source.require_known(config)
    data = config.dataset_args
    options = data.frontend_options
    refusal = _REFUSALS.get(type(options))
    if refusal is not None and (error := refusal(options, config)) is not None:
        raise InputError(f"dataset_args.{data.frontend_section}.upstream_args.name: {error}")


def whisper_hub_id(name: str) -> str | None:
    """Of a name of the table, however it is spelt."""
    return WHISPERS.get(name.lower().replace("-", "_"))


def find_conformer(name: str) -> Conformer | None:
    return next((model for key, model in CONFORMERS.items() if name in (key, model.hub_id)), None)


def is_native(name: str) -> bool:
    """Whether the name of an upstream of s3prl stands for a model that the native encoder is."""
    return find_model(name) is not None or _NATIVE.fullmatch(name) is not None


def s3prl_folder() -> Path | None:
    """Where s3prl is installed."""
    spec = importlib.util.find_spec("s3prl")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def upstream_names() -> dict[str, str]:
    """Every upstream's name and the family it lives in, read from s3prl's sources without importing them."""
    folder = s3prl_folder()
    if folder is None:
        raise InputError("frontend 's3prl' needs the package s3prl: pip install 'wedefense[s3prl]'")
    names: dict[str, str] = {}
    for path in sorted(folder.glob("upstream/*/hubconf.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names |= {node.name: path.parent.name for node in tree.body
                  if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")}
    return names


def unknown_whisper(name: str) -> InputError:
    return InputError(f"unknown Whisper model '{name}'{did_you_mean(name, WHISPERS)}; a folder or a Hugging Face hub "
                      "id is taken too")


def unknown_conformer(name: str) -> InputError:
    return InputError(f"'{name}': no such file, and no Conformer{did_you_mean(name, CONFORMERS)}; a {NEMO} file or its "
                      "URL is taken too")


def unknown_upstream(name: str) -> InputError:
    return InputError(f"unknown s3prl upstream '{name}'{did_you_mean(name, upstream_names())}")


def _whisper(options: PretrainedOptions, config: Config) -> InputError | None:
    """Weights of `model_init` bring their own encoder."""
    name = options.upstream_args.name
    found = (options.upstream_args.path_or_url or config.model_init or whisper_hub_id(name)
             or Path(name).exists() or source.looks_like_reference(name))
    return None if found else unknown_whisper(name)


def _conformer(options: PretrainedOptions, config: Config) -> InputError | None:
    name = options.upstream_args.name
    found = (options.upstream_args.path_or_url or find_conformer(name) or is_url(name)
             or Path(name).expanduser().is_file())
    return None if found else unknown_conformer(name)


def _upstream(options: PretrainedOptions, config: Config) -> InputError | None:
    """Which upstreams there are is known where s3prl is; its classes are named whatever file they read."""
    name = options.upstream_args.name
    found = is_native(name) or s3prl_folder() is None or name in upstream_names()
    return None if found else unknown_upstream(name)


_REFUSALS: dict[type, Callable[[PretrainedOptions, Config], InputError | None]] = {
    WhisperOptions: _whisper, ConformerOptions: _conformer, S3prlOptions: _upstream}
