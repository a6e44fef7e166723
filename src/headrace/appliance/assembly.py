"""Makes an agent of its parts from its configuration, and takes them apart again in the right order."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from headrace.appliance.adapters.credential import CredentialFile
from headrace.appliance.adapters.fetch import RangeFetcher
from headrace.appliance.adapters.ledger import Ledger
from headrace.appliance.adapters.serve_tree import ServeTree
from headrace.appliance.adapters.state_folder import prepare_state
from headrace.appliance.adapters.store import DiskStore
from headrace.appliance.agent import Agent, Parts
from headrace.appliance.bgp.reports import Heard, RouteReports
from headrace.appliance.config import AgentConfig
from headrace.appliance.control_link import ControlLink
from headrace.appliance.directory import SourceDirectory
from headrace.appliance.errors import AlreadyRunningError, StateError
from headrace.appliance.fill import Filler
from headrace.appliance.gate import FillGate
from headrace.appliance.ports import LoadSource, WebServer
from headrace.appliance.transfer import Transfers
from headrace.appliance.verify import Verifier
from headrace.base.clock import Clock
from headrace.base.rng import Rng
from headrace.wire.client import open_client
from headrace.wire.files import lock_file


@contextmanager
def only_agent(state: Path, worker_user: str = "") -> Iterator[None]:
    """Hold the state folder for this process; the kernel lets go of it when the process ends, however it ends.

    It is closed to other users, but for nginx's workers if they are `worker_user`.

    Raises:
        AlreadyRunningError: another agent works on it.
        StateError: the folder cannot be made or written.
    """
    prepare_state(state, worker_user)
    try:
        descriptor = lock_file(state / "lock")
    except BlockingIOError:
        raise AlreadyRunningError(f"another agent works on {state}; stop it first") from None
    except OSError as error:
        raise StateError(f"cannot use the state folder {state}: {error.strerror or error}") from None
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def open_ledger(state: Path) -> Iterator[Ledger]:
    """The ledger of a state folder that this process holds."""
    ledger = Ledger(state / "ledger.db")
    try:
        yield ledger
    finally:
        ledger.close()


@asynccontextmanager
async def open_agent(
    config: AgentConfig,
    *,
    ledger: Ledger,
    web: WebServer,
    load: LoadSource,
    heard: Heard,
    clock: Clock,
    rng: Rng,
) -> AsyncIterator[Agent]:
    """An agent for the block; it works while its `run` is awaited.

    Raises:
        StateError, ConfigError, WireError: the configuration names something that is not there.
    """
    control, fill = config.control, config.fill
    store = DiskStore(
        config.store, config.appliance_id, ledger=ledger, tree=ServeTree(config.state), clock=clock, rng=rng
    )
    fetcher = _make_fetcher(config, clock)
    ca_file = Path(control.ca_file) if control.ca_file else None
    try:
        async with open_client(control.urls, "", ca_file=ca_file, timeout_s=control.timeout_s) as client:
            link = ControlLink(config, client, CredentialFile(config.state))
            gate = FillGate(config.appliance_id, clock)
            directory = SourceDirectory(link.fill_sources, clock=clock, rng=rng)
            transfers = Transfers(
                fill, store=store, fetcher=fetcher, gate=gate, directory=directory, clock=clock, rng=rng
            )
            parts = Parts(
                ledger=ledger,
                store=store,
                transfers=transfers,
                gate=gate,
                filler=Filler(
                    fill,
                    store=store,
                    transfers=transfers,
                    served=load.served,
                    clock=clock,
                    rng=rng,
                ),
                verifier=Verifier(store, rate_bps=config.store.verify_bps, clock=clock, missed=load.missed),
                web=web,
                load=load,
                link=link,
                routes=RouteReports(
                    config.appliance_id, heard, link, retry_most_s=control.retry_most_s, clock=clock, rng=rng
                ),
                clock=clock,
                rng=rng,
            )
            yield Agent(config.appliance_id, parts, retry_most_s=control.retry_most_s)
    finally:
        await fetcher.close()
        store.close()


def _make_fetcher(config: AgentConfig, clock: Clock) -> RangeFetcher:
    fill = config.fill
    return RangeFetcher(
        config.appliance_id,
        stall_timeout_s=fill.stall_timeout_s,
        files_at_once=fill.files_at_once,
        ca_file=fill.ca_file,
        clock=clock,
    )
