"""OpenMP's waiting threads can be ended: they may take the processor from others."""

import sys
import time
from pathlib import Path

import pytest
import torch

from bnrun.kernels.openmp import end_waiting_threads

TASKS = Path("/proc/self/task")
"""The threads of this process."""


@pytest.mark.skipif(sys.platform != "linux", reason="there is nothing to end them by")
def test_waiting_threads_end_and_the_next_loop_starts_others() -> None:
    many = torch.ones(1 << 20)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        many.sigmoid()
        busy = len(list(TASKS.iterdir()))
        end_waiting_threads()
        deadline = time.monotonic() + 5
        while len(list(TASKS.iterdir())) > busy - 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        ended = len(list(TASKS.iterdir()))
        assert ended <= busy - 2
        many.sigmoid()
        assert len(list(TASKS.iterdir())) > ended
    finally:
        end_waiting_threads()
        torch.set_num_threads(threads)
