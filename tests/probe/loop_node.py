"""A control node's loops as a process of their own, for tests that kill one: loop_node.py STORE_URL NODE."""

import asyncio
import sys

from headrace.base.clock import SystemClock
from headrace.base.logs import set_up_logging
from headrace.base.rng import make_rng
from headrace.control.adapters.store import open_store
from headrace.control.loops.service import run_loops
from headrace.control.loops.settings import LoopUrls
from headrace.control.loops.state import LoopState
from headrace.control.loops.testing import hasty

if __name__ == "__main__":
    set_up_logging("INFO")
    store_url, node = sys.argv[1:]
    asyncio.run(
        run_loops(
            store=open_store(store_url),
            settings=hasty(),
            urls=LoopUrls(origin="http://origin.example", redirect="http://steer.example"),
            node=node,
            clock=SystemClock(),
            rng=make_rng(node),
            state=LoopState(),
        )
    )
