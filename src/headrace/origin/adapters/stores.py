"""Which byte store a URL means."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from headrace.base.errors import UsageError
from headrace.origin.adapters.folder_store import FolderStore
from headrace.origin.adapters.object_store import ObjectStore
from headrace.origin.config import StoreConfig
from headrace.origin.ports import ByteStore


def open_store(config: StoreConfig) -> ByteStore:
    """A folder for a path or a file:// URL, else an object store.

    Raises:
        UsageError: no URL.
        ConfigError: a URL that is not known or holds credentials.
    """
    if not config.url:
        raise UsageError("no origin: give --origin FOLDER or URL (or set store.url, HEADRACE_ORIGIN)")
    if config.url.startswith("file://"):
        return FolderStore(Path(unquote(urlsplit(config.url).path)), timeout_s=config.timeout_s)
    if "://" not in config.url:
        return FolderStore(Path(config.url).expanduser().absolute(), timeout_s=config.timeout_s)
    return ObjectStore(config.url, read_back=config.read_back, timeout_s=config.timeout_s)
