"""From one name to the front-end that knows it."""

import dataclasses

from wedefense.config.frontend import FRONTENDS, PretrainedOptions
from wedefense.frontend.protocol import Frontend
from wedefense.utils.errors import InputError, did_you_mean, of_paths


@of_paths()
def load(name: str, frozen: bool, sample_rate: int, options: dict) -> Frontend:
    """See `wedefense.frontend.load_frontend`; options of `upstream_args` are taken as they are, beside the others."""
    options = dict(options)
    kind = frontend_of(name)
    own = FRONTENDS.options(kind)
    fields = {field.name for field in dataclasses.fields(own)}
    upstream = type(own().upstream_args) if issubclass(own, PretrainedOptions) else None
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
    name, known = str(name), []
    for kind, row in FRONTENDS.rows().items():
        if row.self_contained:
            serves, names = name == kind, [kind]
        else:
            own = FRONTENDS.load(kind)
            serves, names = own.serves(name), own.model_names()
        if serves:
            return kind
        known += names
    raise InputError(f"unknown front-end '{name}'{did_you_mean(name, dict.fromkeys(known))}; "
                     "a path, a URL, a Hugging Face hub id (owner/model) or, where s3prl is installed (pip install "
                     "'wedefense[s3prl]'), one of its upstreams is taken too")
