"""Embeddings of recordings into one file."""

import numpy as np

from wedefense.detect.inputs import collect, load_model
from wedefense.detect.output import failure_lines
from wedefense.utils.distributed import start
from wedefense.utils.files import atomic_write, require_writable


def embed_recordings(options) -> tuple[str, int]:
    """Write `names` and `embeddings` (recordings, embed_dim) of --model to --out; what was done, and the exit code."""
    require_writable(options.out)
    sources, passed_over = collect(options.audio)
    model = load_model(options, options.precision).to(start(device=options.device).device)
    found, failures = model.embed_files(sources)
    dim = model.detector.backend.embed_dim
    with atomic_write(options.out) as stream:
        np.savez(stream, names=np.array(list(found), dtype=np.str_),
                 embeddings=np.array(list(found.values()), np.float32).reshape(-1, dim))
    said = f"wrote {options.out}: {len(found)} of {len(sources)} recordings, of {dim} numbers each"
    return "\n".join([said, *passed_over, *failure_lines(failures)]), 1 if failures else 0
