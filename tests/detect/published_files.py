"""Names and shapes of tensors in files that authors hand out, of encoders that are tiny; random numbers in them."""

import torch

Shapes = dict[str, tuple[int, ...]]
DIM, BLOCKS = 128, 2                                   # two heads of 64
CONVS = ((8, 10), *[(8, 3)] * 4, *[(8, 2)] * 2)  # (channels, kernel)


def linear(name: str, out: int, inner: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (out, inner)} | ({f"{name}.bias": (out,)} if bias else {})


def norm(name: str, dim: int) -> Shapes:
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}


def batch_norm(name: str, dim: int) -> Shapes:
    return norm(name, dim) | {f"{name}.running_mean": (dim,), f"{name}.running_var": (dim,),
                              f"{name}.num_batches_tracked": ()}


def conv(name: str, out: int, inner: int, *kernel: int) -> Shapes:
    return {f"{name}.weight": (out, inner, *kernel), f"{name}.bias": (out,)}


def fairseq(prefix: str, bias: bool = True, layer_norms: bool = True) -> Shapes:
    """wav2vec 2.0 (with `bias`) or HuBERT, with what pretraining leaves in the file; large (`layer_norms`) or base."""
    found: Shapes = {"mask_emb": (DIM,)}
    inner = 1
    for number, (out, kernel) in enumerate(CONVS):
        layer = f"feature_extractor.conv_layers.{number}"
        found |= {f"{layer}.0.weight": (out, inner, kernel)} | ({f"{layer}.0.bias": (out,)} if bias else {})
        found |= norm(f"{layer}.2.1", out) if layer_norms else norm(f"{layer}.2", out) if number == 0 else {}
        inner = out
    found |= norm("layer_norm", inner) | linear("post_extract_proj", DIM, inner) | norm("encoder.layer_norm", DIM)
    found |= {"encoder.pos_conv.0.bias": (DIM,), "encoder.pos_conv.0.weight_g": (1, 1, 16),
              "encoder.pos_conv.0.weight_v": (DIM, DIM // 4, 16)}
    for block in range(BLOCKS):
        layer = f"encoder.layers.{block}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            found |= linear(f"{layer}.self_attn.{part}", DIM, DIM)
        found |= norm(f"{layer}.self_attn_layer_norm", DIM) | norm(f"{layer}.final_layer_norm", DIM)
        found |= linear(f"{layer}.fc1", 16, DIM) | linear(f"{layer}.fc2", DIM, 16)
    found |= {"quantizer.vars": (1, 4, 2)} | linear("project_q", 4, 4) if bias else {"label_embs_concat": (5, 4)}
    return {prefix + name: shape for name, shape in (found | linear("final_proj", 4, DIM)).items()}


def transformers(prefix: str) -> Shapes:
    """The same encoder as `Wav2Vec2Model` keeps it."""
    found: Shapes = {"masked_spec_embed": (DIM,)}
    inner = 1
    for number, (out, kernel) in enumerate(CONVS):
        layer = f"feature_extractor.conv_layers.{number}"
        found |= conv(f"{layer}.conv", out, inner, kernel) | norm(f"{layer}.layer_norm", out)
        inner = out
    found |= norm("feature_projection.layer_norm", inner) | linear("feature_projection.projection", DIM, inner)
    found |= {"encoder.pos_conv_embed.conv.bias": (DIM,),
              "encoder.pos_conv_embed.conv.parametrizations.weight.original0": (1, 1, 16),
              "encoder.pos_conv_embed.conv.parametrizations.weight.original1": (DIM, DIM // 4, 16)}
    found |= norm("encoder.layer_norm", DIM)
    for block in range(BLOCKS):
        layer = f"encoder.layers.{block}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            found |= linear(f"{layer}.attention.{part}", DIM, DIM)
        found |= norm(f"{layer}.layer_norm", DIM) | norm(f"{layer}.final_layer_norm", DIM)
        found |= linear(f"{layer}.feed_forward.intermediate_dense", 16, DIM)
        found |= linear(f"{layer}.feed_forward.output_dense", DIM, 16)
    return {prefix + name: shape for name, shape in found.items()}


def aasist(dim: int = DIM) -> Shapes:
    """SSL_Anti-spoofing; the first batch norm of a residual block is in the file and takes no part."""
    found = linear("LL", 128, dim) | batch_norm("first_bn", 1) | batch_norm("first_bn1", 64)
    channels = (1, 32, 32, 64, 64, 64, 64)
    for number, (inner, out) in enumerate(zip(channels, channels[1:])):
        block = f"encoder.{number}.0"
        found |= (batch_norm(f"{block}.bn1", inner) if number else {}) | conv(f"{block}.conv1", out, inner, 2, 3)
        found |= batch_norm(f"{block}.bn2", out) | conv(f"{block}.conv2", out, out, 2, 3)
        found |= conv(f"{block}.conv_downsample", out, inner, 1, 3) if inner != out else {}
    found |= conv("attention.0", 128, 64, 1, 1) | batch_norm("attention.2", 128) | conv("attention.3", 64, 128, 1, 1)
    found |= {"pos_S": (1, 42, 64), "master1": (1, 1, 64), "master2": (1, 1, 64)}
    for layer in ("GAT_layer_S", "GAT_layer_T"):
        for part in ("att_proj", "proj_with_att", "proj_without_att"):
            found |= linear(f"{layer}.{part}", 64, 64)
        found |= {f"{layer}.att_weight": (64, 1)} | batch_norm(f"{layer}.bn", 64)
    for branch, inner in (("11", 64), ("12", 32), ("21", 64), ("22", 32)):
        layer = f"HtrgGAT_layer_ST{branch}"
        for part in ("proj_type1", "proj_type2"):
            found |= linear(f"{layer}.{part}", inner, inner)
        for part in ("att_proj", "att_projM", "proj_with_att", "proj_without_att", "proj_with_attM",
                     "proj_without_attM"):
            found |= linear(f"{layer}.{part}", 32, inner)
        found |= {f"{layer}.att_weight{pair}": (32, 1) for pair in ("11", "22", "12", "M")}
        found |= batch_norm(f"{layer}.bn", 32)
    for pool, inner in (("S", 64), ("T", 64), ("hS1", 32), ("hT1", 32), ("hS2", 32), ("hT2", 32)):
        found |= linear(f"pool_{pool}.proj", 1, inner)
    return found | linear("out_layer", 2, 160)


def nes2net(dim: int = DIM, outer: int = 8, inner: int = 8) -> Shapes:
    """Nes2Net-X with mean pooling."""
    found: Shapes = {}
    channels = dim // outer
    width = channels // inner
    for group in range(outer - 1):
        block = f"Build_in_Res2Nets.{group}"
        found |= conv(f"{block}.conv1", width * inner, channels, 1) | batch_norm(f"{block}.bn1", width * inner)
        for branch in range(inner - 1):
            found |= {f"{block}.weighted_sum.{branch}": (1, 1, 1, branch + 2)}
            found |= conv(f"{block}.convs.{branch}", width, width, 3, 1) | batch_norm(f"{block}.bns.{branch}", width)
        found |= conv(f"{block}.conv3", channels, width * inner, 1) | batch_norm(f"{block}.bn3", channels)
        found |= conv(f"{block}.se.se.1", channels, channels, 1) | conv(f"{block}.se.se.3", channels, channels, 1)
        found |= batch_norm(f"bns.{group}", channels)
    found |= batch_norm("bn", dim) | linear("fc", 2, dim)
    return {f"Nested_Res2Net_TDNN.{name}": shape for name, shape in found.items()}


def raptor(dim: int = DIM, blocks: int = 2, heads: int = 4, mult: int = 4, expansion: int = 2,
           kernel: int = 31) -> Shapes:
    """DF-Arena; `conformer.positional_emb` beside it is a table of sines."""
    found = linear("fc0", 1, dim) | linear("attn_scores", 1, dim, bias=False) | batch_norm("first_bn", 1)
    wide, part = expansion * dim, dim // heads
    for number in range(blocks):
        block = f"conformer.encoder_blocks.{number}"
        for feed in ("ff1", "ff2"):
            found |= norm(f"{block}.{feed}.fn.norm", dim) | linear(f"{block}.{feed}.fn.fn.net.0", mult * dim, dim)
            found |= linear(f"{block}.{feed}.fn.fn.net.3", dim, mult * dim)
        found |= norm(f"{block}.attn.norm", dim) | linear(f"{block}.attn.fn.qkv", 3 * dim, dim, bias=False)
        found |= linear(f"{block}.attn.fn.proj", dim, dim) | linear(f"{block}.attn.fn.ht_proj", dim, part)
        found |= norm(f"{block}.attn.fn.ht_norm", part) | {f"{block}.attn.fn.pos_embed": (1, heads, dim)}
        found |= norm(f"{block}.conv.net.0", dim) | conv(f"{block}.conv.net.2", 2 * wide, dim, 1)
        found |= conv(f"{block}.conv.net.4.conv", wide, 1, kernel) | batch_norm(f"{block}.conv.net.5", wide)
        found |= conv(f"{block}.conv.net.7", dim, wide, 1) | norm(f"{block}.post_norm", dim)
    return found | {"conformer.class_token": (1, dim)} | linear("conformer.fc5", 2, dim)


def sines(places: int = 10_000, dim: int = DIM) -> torch.Tensor:
    """(1, places, dim), number by number."""
    place, at = torch.arange(places, dtype=torch.float64)[:, None], torch.arange(dim, dtype=torch.float64)
    angle = (place / 10_000 ** (2 * (at // 2) / dim)).float()
    return torch.where(at % 2 == 0, angle.sin(), angle.cos())[None]


def filled(shapes: Shapes, seed: int = 0) -> dict[str, torch.Tensor]:
    """Numbers of the size that trained ones have: norms near 1, variances positive, weights by their inputs."""
    generator, found = torch.Generator().manual_seed(seed), {}
    for name, shape in shapes.items():
        draw = torch.randn(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            found[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            found[name] = 0.5 + draw.abs()
        elif len(shape) > 1 and "pos_S" not in name and "pos_embed" not in name and "weight_g" not in name:
            found[name] = draw / max(torch.Size(shape[1:]).numel(), 1) ** 0.5
        else:
            found[name] = 0.1 * draw + (name.endswith(("weight", "weight_g", "original0")))
    return found
