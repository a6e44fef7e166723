"""Object stores by URL, through obstore: the origin and the batches of logs are kept in them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import from_url

from headrace.base.errors import ConfigError, HeadraceError

SCHEMES = {"s3", "s3a", "gs", "az", "azure", "abfs", "abfss"}


def connect_objects(url: str, timeout_s: float) -> Any:
    """obstore's store for a URL such as s3://bucket/prefix; credentials come from the environment only.

    Raises:
        ConfigError: a URL that is not known or holds credentials.
    """
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ConfigError("the store URL holds credentials: put them in the environment (AWS_ACCESS_KEY_ID, ...)")
    if parts.scheme not in SCHEMES or not parts.netloc:
        raise ConfigError(f"store URL {url!r} is not known: use a folder, s3://bucket/prefix, gs://... or az://...")
    options: dict[str, Any] = {
        "connect_timeout": timedelta(seconds=min(10.0, timeout_s)),
        "timeout": timedelta(seconds=timeout_s),
    }
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    config: dict[str, Any] = {}
    if parts.scheme.startswith("s3"):
        # The store itself refuses an upload that was changed on the way.
        config["checksum_algorithm"] = "SHA256"
        if endpoint:
            config["endpoint"] = endpoint
            options["allow_http"] = endpoint.startswith("http://")
    connect: Any = from_url  # its overloads tell the stores apart by type; here the URL does
    try:
        return connect(
            url,
            config=config or None,
            client_options=options,
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=timeout_s)},
        )
    except (BaseError, ValueError) as error:
        raise ConfigError(f"store URL {url!r} cannot be used: {first_line(error)}") from None


@contextmanager
def object_errors(url: str, as_error: type[HeadraceError]) -> Iterator[None]:
    """What obstore says of a store, as an error of ours that names the store and the mend."""
    try:
        yield
    except (PermissionDeniedError, UnauthenticatedError):
        mend = "check the credentials in the environment and the bucket's permissions"
        raise as_error(f"{url} refuses: {mend}") from None
    except (BaseError, OSError) as error:
        raise as_error(f"{url} cannot be used: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """Stores answer with pages of XML; the first line says enough, and none of it holds a secret key."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
