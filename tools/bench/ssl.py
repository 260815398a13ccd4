"""The native SSL encoder against s3prl, torchaudio and transformers; see `ssl_encoders.py` for what it prints.

    python tools/bench/ssl.py --size base --lengths one mixed --precision float32 bfloat16 [--backward]
"""

import sys

if __name__ == "ssl":  # another script of this folder asked for Python's own `ssl`, which this file hides: give it
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec("ssl", sys.path[1:])
    sys.modules["ssl"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["ssl"])

if __name__ == "__main__":
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from tools.bench.ssl_encoders import main

    main()
