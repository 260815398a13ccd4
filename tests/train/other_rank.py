"""Run by the tests on each rank: training, with further options on the second rank alone.

    python other_rank.py OPTION ... -- OPTION OF RANK 1 ...
"""

import os
import sys

from wedefense.bin.train import main
from wedefense.cli import run

split = sys.argv.index("--")
own, other = sys.argv[1:split], sys.argv[split + 1:]
run(lambda: main(own + (other if os.environ["RANK"] == "1" else [])))
