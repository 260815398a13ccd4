"""From one name to the front-end that knows it."""

import dataclasses
from pathlib import Path

from wedefense.config.frontend import FRONTENDS
from wedefense.utils.errors import InputError, did_you_mean


def load(name: str, frozen: bool, sample_rate: int, options: dict):
    """See `wedefense.frontend.load_frontend`; options of `upstream_args` are taken as they are, beside the others."""
    options = dict(options)
    kind = frontend_of(name)
    own = FRONTENDS.options(kind)
    fields = {field.name for field in dataclasses.fields(own)}
    upstream = type(own().upstream_args) if "upstream_args" in fields else None
    inner = {field.name for field in dataclasses.fields(upstream)} - {"name"} if upstream else set()
    for key in options:
        if key not in fields | inner or key == "upstream_args":
            known = (fields | inner) - {"upstream_args"}
            raise InputError(f"'{key}' is not an option of the {kind} front-end{did_you_mean(key, known)}")
    if upstream:
        nested = {key: options.pop(key) for key in inner & options.keys()}
        alone = options.get("layer", -1) != -1
        options = {"layerwise_feature": True, "multilayer_feature": not alone, **options, "frozen": frozen,
                   "upstream_args": upstream(name=str(name), **nested)}
    return FRONTENDS.load(kind)(own(**options), sample_rate)


def frontend_of(name: str) -> str:
    """Which front-end of the table serves a name, path, hub id or URL."""
    from wedefense.frontend.s3prl import upstream_names
    from wedefense.frontend.ssl.formats.huggingface import read_json
    from wedefense.frontend.ssl.source import looks_like_reference
    from wedefense.frontend.ssl.zoo import MODELS, find_model
    from wedefense.frontend.whisper import HUB_IDS

    if name in ("fbank", "lfcc"):
        return name
    key = str(name).lower().replace("-", "_")
    if key in HUB_IDS or name in HUB_IDS.values():
        return "whisper"
    config = Path(name) / "config.json"
    if config.is_file():
        return "whisper" if read_json(config).get("model_type") == "whisper" else "ssl"
    if find_model(str(name)) is not None or Path(name).exists() or looks_like_reference(str(name)):
        return "ssl"
    others = upstream_names()
    if name in others:
        return "s3prl"
    raise InputError(f"unknown front-end '{name}'{did_you_mean(name, [*MODELS, *HUB_IDS, 'fbank', 'lfcc'])}; "
                     "a path, a URL, a Hugging Face hub id (owner/model) or an s3prl upstream is taken too")
