"""Front-ends: samples to frame-level features."""


def load_frontend(name_or_path: str, frozen: bool = True, sample_rate: int = 16000, **options):
    """A front-end by the name of its model, a checkpoint's path, a hub id or a URL.

    >>> frontend = load_frontend("wavlm_base_plus")                    # doctest: +SKIP
    >>> features = frontend(wav, lengths)     # wav (batch, samples)   # doctest: +SKIP
    >>> features.layers[0].shape              # (batch, frames, dim)   # doctest: +SKIP

    `options` are those of the front-end (`wedefense.config.frontend`). Names of the native encoder and Whisper's
    come first, then `fbank` and `lfcc`, then every upstream of s3prl.
    """
    from wedefense.frontend.load import load

    return load(name_or_path, frozen, sample_rate, options)
