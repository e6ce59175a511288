"""A Dask worker as a process of a test; the process finds this module by its name."""

import asyncio
import logging


def serve(address: str, name: str, folder: str) -> None:
    """Be a worker, in silence."""
    import distributed

    logging.disable()

    async def work() -> None:
        worker = distributed.Worker(address, name=name, nthreads=1, local_directory=folder)
        async with worker:
            await worker.finished()

    asyncio.run(work())
