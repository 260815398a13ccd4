"""What a checkpoint is, in words."""

from wedefense.frontend.ssl.architecture import Architecture
from wedefense.frontend.ssl.formats.read import Checkpoint


def parameters(checkpoint: Checkpoint) -> int:
    return sum(value.numel() for value in checkpoint.state_dict.values())


def describe(checkpoint: Checkpoint) -> str:
    """One line for a log."""
    text = (f"{checkpoint.source}: {checkpoint.family}, {checkpoint.architecture.num_blocks} blocks, "
            f"{parameters(checkpoint) / 1e6:.2f} M parameters, format {checkpoint.format}")
    return f"{text} ({checkpoint.remark})" if checkpoint.remark else text


def rows(checkpoint: Checkpoint) -> dict[str, str]:
    """Label -> value, for a table."""
    shape = checkpoint.architecture
    found = {
        "source": checkpoint.source,
        "format": checkpoint.format,
        "family": checkpoint.family,
        "layers": f"{shape.num_blocks} blocks of {shape.dim} ({shape.num_blocks + 1} layers with the first input)",
        "heads": per_block([len(block.heads) for block in shape.blocks], f"of {shape.head_dim}"),
        "feed-forward": per_block([block.ff_dim for block in shape.blocks], "hidden units"),
        "convolutions": ", ".join(str(channels) for channels, _, _ in shape.conv_layers) + " channels",
        "parameters": f"{parameters(checkpoint):,}",
        "normalisation": normalisation(shape),
    }
    if checkpoint.remark:
        found["remark"] = checkpoint.remark
    return found


def per_block(counts: list[int], what: str) -> str:
    text = str(counts[0]) if len(set(counts)) == 1 else ", ".join(map(str, counts))
    return f"{text} {what}"


def normalisation(shape: Architecture) -> str:
    waveform = f"normalised waveform (epsilon {shape.normalize_eps:g})" if shape.normalize_waveform else "raw waveform"
    extractor = shape.extractor_norm.replace("_", " ")
    order = "before" if shape.norm_first else "after"
    return f"{waveform}, {extractor} in the convolutions, layer norm {order} each sublayer"
