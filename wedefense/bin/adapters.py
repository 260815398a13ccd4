"""Adapters of a detector, or of a folder of Hugging Face's PEFT: what they are, written for PEFT, or merged.

Of a folder of PEFT it prints the section of a config under which a training begins as that adapter.
"""

from wedefense.utils.arguments import add_model_options, command_parser


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("adapters", __doc__)
    parser.add_argument("model", metavar="MODEL", help="experiment, checkpoint or hub id with adapters; or a folder of "
                                                       "PEFT")
    parser.add_argument("--peft", metavar="OUT", help="write its LoRA as a folder that peft loads over transformers")
    parser.add_argument("--check", metavar="BASE", help="with --peft: load it by peft over this model of transformers, "
                                                        "a folder or hub id, and compare")
    parser.add_argument("--merged", metavar="OUT", help="write the detector with its LoRA in the encoder's weights")
    add_model_options(parser)
    arguments = parser.parse_args(argv)
    if arguments.check and not arguments.peft:
        parser.error("--check goes with --peft")

    from wedefense.detect.adapters import adapter_in, rows, section, write_merged, write_peft
    from wedefense.detect.inputs import load_model
    from wedefense.detect.peft_check import difference

    adapter = adapter_in(arguments.model)
    if adapter is not None:
        if arguments.peft or arguments.merged:
            parser.error("--peft and --merged write what a detector has; this is a folder of PEFT")
        print(section(adapter))
        return 0
    model = load_model(arguments)
    print("\n".join(rows(model)))
    if arguments.peft:
        print("\n".join(map(str, write_peft(model, arguments.peft))))
    if arguments.check:
        found = difference(model, arguments.peft, arguments.check)
        print(f"loaded by peft over {arguments.check}: all layers within {found:.2g}")
    if arguments.merged:
        print("\n".join(write_merged(model, arguments.merged)))
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
