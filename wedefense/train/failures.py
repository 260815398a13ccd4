"""A training step that failed, in words, with what to change."""

import torch

from wedefense.config.frontend import NativeOptions
from wedefense.config.schema import Config
from wedefense.utils.out_of_memory import lacking


def explain(error: RuntimeError | ValueError, batch, config: Config, ranks: int) -> str | None:
    """None for what the user cannot mend."""
    if isinstance(error, torch.OutOfMemoryError):
        count, samples = batch.wav.shape
        return (f"out of memory on a batch of {count} utterances x {samples / config.dataset_args.resample_rate:.2f} s "
                f"({lacking(error)}). Save memory, the first costs nothing but time: "
                f"{'; '.join(_savings(config, ranks))}")
    if "Expected more than 1 value per channel" in str(error):
        return ("batch norm needs more than one utterance at a time; set dataloader_args.batch_size to 2 or more, or "
                "take a back-end and a head without it")
    if "does not have a deterministic implementation" in str(error):
        return f"deterministic: {str(error).split(', but you set')[0]}; set deterministic: False"
    return None


def _savings(config: Config, ranks: int) -> list[str]:
    """What the config leaves to save, from what changes no result to what does."""
    data, size = config.dataset_args, config.dataloader_args.batch_size
    frontend, place = data.frontend_options, f"dataset_args.{data.frontend_section}"
    native = isinstance(frontend, NativeOptions) and not frontend.frozen
    savings = []
    if native and not frontend.gradient_checkpointing:
        savings.append(f"{place}.gradient_checkpointing: True")
    if size > 1:
        savings.append(f"dataloader_args.batch_size: {size // 2} with accum_grad: {2 * config.accum_grad}")
    if config.sharding == "none" and not config.use_pruning_loss:
        savings.append("sharding: full" + ("" if ranks > 1 else " over several gpus"))
    if native and not frontend.freeze_extractor:
        savings.append(f"{place}.freeze_extractor: True")
    if data.whole_utt:
        savings.append("dataset_args.filter: True with filter_args.max_num_frames under "
                       f"{data.filter_args.max_num_frames}")
    else:
        savings.append(f"dataset_args.num_frms under {data.num_frms}")
    return savings
