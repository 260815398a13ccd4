"""Adapters of a trained detector: what they changed, as a folder of PEFT, and merged into a detector without any."""

import copy
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import yaml

from wedefense.config.adapters import AdapterOptions
from wedefense.config.frontend import adapters_in
from wedefense.config.typed import to_builtin
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.share import write_folder
from wedefense.frontend.ssl.adapters import adapted_products, is_adapter, merge
from wedefense.frontend.ssl.formats.peft import CONFIG, Adapter, read_adapter, save_adapter
from wedefense.models.cost import parameters
from wedefense.report.hub_card import base_model
from wedefense.utils.errors import InputError
from wedefense.utils.log import get_logger


def adapter_in(path: str | os.PathLike) -> Adapter | None:
    """Of a folder of PEFT; None of any other place."""
    return read_adapter(Path(path)) if (Path(path) / CONFIG).is_file() else None


def of_adapter(adapter: Adapter) -> dict[str, str]:
    """Label -> value, for a table."""
    count = sum(tensor.numel() for parts in adapter.tensors.values() for tensor in parts.values())
    return {"adapter of PEFT": str(adapter.folder), "kind": adapter.options.in_words(), "parameters": f"{count:,}",
            "trained over": adapter.base, "to begin with it": f"wedefense adapters {adapter.folder}"}


def section(adapter: Adapter) -> str:
    """The section of a config under which a training begins as this adapter."""
    options = to_builtin(replace(adapter.options, path=str(adapter.folder)))
    wanted = {key: value for key, value in options.items() if key not in ("dim", "dropout", "norms")}
    text = yaml.safe_dump({"adapters": wanted}, sort_keys=False, default_flow_style=None, width=110)
    return f"# {adapter.options.in_words()}; trained over {adapter.base}\n{text.rstrip()}"


def options_of(model: LoadedDetector) -> AdapterOptions:
    options = AdapterOptions() if model.config is None else adapters_in(model.config.dataset_args.frontend_options)
    if not options.wanted:
        raise InputError(f"{model.weights}: has no adapters; train some with dataset_args.ssl_args.adapters.type: lora")
    return options


@torch.no_grad()
def rows(model: LoadedDetector) -> list[str]:
    """What there is, and how far each block's weights are from where they began."""
    encoder = model.detector.pretrained.upstream
    own = sum(parameter.numel() for name, parameter in encoder.named_parameters() if is_adapter(name))
    before = parameters(encoder) - own
    share = 100 * own / before
    found = [options_of(model).in_words(), f"{own:,} parameters, {share:.2f} % of the encoder's {before:,}"]
    by_block: dict[int, list[str]] = {}
    for (block, name), product in adapted_products(encoder).items():
        moved = (product.adapted() - product.weight).norm() / product.weight.norm()
        by_block.setdefault(block, []).append(f"{name} {100 * moved:.2f} %")
    return found + [f"block {block:>2} changed by  {'  '.join(texts)}" for block, texts in by_block.items()]


def write_peft(model: LoadedDetector, out: str | os.PathLike) -> list[Path]:
    """A folder that peft loads over the model of transformers of the same name."""
    options, config = options_of(model), model.config
    assert config is not None  # as it has options
    base = base_model(config) or config.dataset_args.frontend_options.upstream_args.name
    if config.model_init:
        get_logger().warning("%s: its encoder began as that of %s, and not as %s came; where the two differ, the "
                             "adapter is none of that model: --check BASE compares them, --merged gives the detector "
                             "whole", model.weights, config.model_init, base)
    return save_adapter(model.detector.pretrained.upstream, options, out, base)


def write_merged(model: LoadedDetector, out: str | os.PathLike) -> list[str]:
    """A folder of the detector with its adapters in the encoder's weights, as `export --format hub` writes one."""
    options, config = options_of(model), model.config
    assert config is not None  # as it has options
    if options.type != "lora":
        raise InputError(f"{model.weights}: {options.in_words()} are no change of weights, and cannot be merged; share "
                         "it as it is: wedefense export --format hub")
    whole = copy.copy(model)
    whole.detector = copy.deepcopy(model.detector)
    merge(whole.detector)
    data = config.dataset_args
    plain = replace(data.frontend_options, adapters=AdapterOptions())
    whole.config = replace(config, dataset_args=data.with_frontend_options(plain))
    wav = 0.1 * np.random.default_rng(0).standard_normal(3 * model.input_policy.rate).astype(np.float32)
    one, two = (np.concatenate(part.embedding_and_logits(wav)) for part in (model, whole))
    return [write_folder(whole, out), f"outputs differ from those before by at most {np.abs(one - two).max():.2g}"]
