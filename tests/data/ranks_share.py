"""One rank of a run whose loader has `cache: memory`; `python -m torch.distributed.run ... ranks_share.py LIST`.

Prints its number, the file behind the memory, whether some epochs equal those without a cache, how many recordings
are held. With STAY it adds its processes and waits to be killed.
"""

import os
import sys
import time

from test_decoded import CACHED, CROPS, epochs, loading, same

from wedefense.data.loader import train_loader
from wedefense.utils import distributed
from wedefense.utils.ending import end_rank, is_rank

world = distributed.start(device="cpu")
plain, loader = (train_loader(sys.argv[1], "raw", options, loading(2, workers), seed=3, rank=world.rank,
                              world_size=world.size) for options, workers in ((CROPS, 0), (CACHED, 2)))
equal = all(same(one, other) for one, other in zip(epochs(plain), epochs(loader), strict=True))
distributed.barrier()
held = loader._source._memory
workers = [worker.pid for worker in loader._batches._loader._iterator._workers] if "STAY" in os.environ else []
# one write, so that lines of two ranks do not mix
os.write(1, f"rank{world.rank} {os.fstat(held._file).st_ino} {'same' if equal else 'different'} {held.held} "
            f"{' '.join(map(str, [os.getpid(), *workers]) if workers else [])}\n".encode())
while "STAY" in os.environ:
    time.sleep(1)
distributed.stop()
if is_rank():
    end_rank(0)
