"""What a checkpoint is: family, layers, parameters, format, normalisation."""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="wedefense info", description=__doc__)
    parser.add_argument("path", nargs="?", help="file, folder, hub id, URL or name; without it, the known names")
    parser.add_argument("--download_dir", help="where downloads are kept (default: ~/.cache/wedefense)")
    parser.add_argument("--offline", action="store_true", help="fetch nothing")
    arguments = parser.parse_args(argv)
    if arguments.path is None:
        print_names()
        return 0

    from wedefense.frontend.load import frontend_of
    from wedefense.utils.download import set_offline

    if arguments.offline:
        set_offline()
    whisper = frontend_of(arguments.path) == "whisper" and not Path(arguments.path).is_file()
    rows = (whisper_rows if whisper else ssl_rows)(arguments.path, arguments.download_dir)
    width = max(map(len, rows))
    for key, value in rows.items():
        print(f"{key:<{width}}  {value}")
    return 0


def print_names() -> None:
    from wedefense.frontend.ssl.zoo import MODELS

    for model in MODELS.values():
        architecture = model.architecture
        print(f"{model.name:<32} {architecture.num_blocks:>2} blocks of {architecture.dim:>4}  "
              f"{model.hub_id or 'seeded random weights' if model.seed or model.hub_id else model.files[0]}")


def ssl_rows(path: str, download_dir: str | None) -> dict[str, str]:
    from wedefense.frontend.ssl.formats.read import find_checkpoint
    from wedefense.frontend.ssl.summary import rows

    return rows(find_checkpoint(path, None, download_dir))


def whisper_rows(path: str, download_dir: str | None) -> dict[str, str]:
    from wedefense.frontend.whisper import find_whisper, read_whisper

    encoder = read_whisper(find_whisper(path, None, download_dir))
    count = sum(value.numel() for name, value in encoder.state_dict().items() if not name.endswith("k_proj.bias"))
    shape = encoder.architecture
    return {"family": "whisper", "format": "Hugging Face", "layers": f"{shape.num_blocks} blocks of {shape.dim}",
            "parameters": f"{count:,}", "input": f"{shape.mel_bins} log-mel bands"}


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
