"""What the demo's network is: sites, appliances, addresses, folders and the configuration files of each process.

Plain values and the texts made of them; nothing here starts or touches anything.
"""

import json
from dataclasses import dataclass
from pathlib import Path

TITLE = "demo"

OWN_NAMES = frozenset(
    [
        "control",
        "origin",
        "appliances",
        "logs",
        "work",
        "steer-1",
        "steer-2",
        "publish.toml",
        "video.mkv",
        "video.partial.mkv",
        "video.srt",
    ]
)
"""All that a run leaves in its folder; a folder with anything else is never emptied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSite:
    """One site and its appliances."""

    site_id: str
    name: str
    kind: str
    latitude_deg: float
    longitude_deg: float
    prefixes: tuple[str, ...]
    appliances: tuple[str, ...]


SITES = (
    DemoSite(
        site_id="metro",
        name="Metro ISP, Amsterdam",
        kind="embedded",
        latitude_deg=52.37,
        longitude_deg=4.90,
        prefixes=("127.0.0.0/8", "::1/128", "192.0.2.0/24"),
        appliances=("metro-1", "metro-2"),
    ),
    DemoSite(
        site_id="campus",
        name="Campus network, Delft",
        kind="embedded",
        latitude_deg=52.00,
        longitude_deg=4.37,
        prefixes=("198.51.100.0/24", "2001:db8::/32"),
        appliances=("campus-1",),
    ),
    DemoSite(
        site_id="exchange",
        name="Exchange, Frankfurt",
        kind="public-peering",
        latitude_deg=50.11,
        longitude_deg=8.68,
        prefixes=("0.0.0.0/0", "::/0"),
        appliances=("exchange-1", "exchange-2"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Folders and addresses of one run."""

    folder: Path
    port: int
    """Control listens here; steering at +100 and +101; content at +200 on 127.0.1.x."""

    @property
    def control_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def steer_urls(self) -> tuple[str, str]:
        return (f"http://127.0.0.1:{self.port + 100}", f"http://127.0.0.1:{self.port + 101}")

    @property
    def origin_url(self) -> str:
        return f"http://127.0.1.1:{self.port + 200}"

    @property
    def origin_folder(self) -> Path:
        return self.folder / "origin"

    @property
    def control_folder(self) -> Path:
        return self.folder / "control"

    @property
    def admin_token_file(self) -> Path:
        return self.control_folder / "admin.token"

    @property
    def control_toml_file(self) -> Path:
        return self.control_folder / "demo.toml"

    def appliance_folder(self, appliance: str) -> Path:
        """Where an appliance keeps its state and its disks."""
        return self.folder / "appliances" / appliance

    def content_url(self, appliance: str) -> str:
        """The address that players use."""
        return f"http://{self._content_address(appliance)}"

    def _content_address(self, appliance: str) -> str:
        return f"127.0.1.{10 + appliances().index(appliance)}:{self.port + 200}"

    def control_toml(self, *, demo_url: str) -> str:
        """Laid over what `headrace init` wrote."""
        return (
            f'[listen]\nhost = "127.0.0.1"\nport = {self.port}\n'
            f'[store]\nurl = "sqlite:///{self.control_folder}/headrace.db"\n'
            f"[urls]\norigin = {json.dumps(self.origin_url)}\nsteering = {json.dumps(list(self.steer_urls))}\n"
            f"[web]\ndemo_url = {json.dumps(demo_url)}\n"
        )

    def agent_toml(self, appliance: str) -> str:
        """One appliance with two disks."""
        folder = self.appliance_folder(appliance)
        return (
            f'[appliance]\nid = "{appliance}"\ncontent_url = "{self.content_url(appliance)}"\n'
            f'capacity_bps = 1_000_000_000\nstate = "{folder}/state"\n'
            f'[control]\nurls = ["{self.control_url}"]\njoin_token_file = "{folder}/join.token"\nretry_most_s = 3.0\n'
            f'[store]\nfolders = ["{folder}/disk1", "{folder}/disk2"]\nreserve_bytes = 10_000_000\n'
            f'[nginx]\nlisten = ["{self._content_address(appliance)}"]\nworkers = 1\nstop_timeout_s = 2.0\n'
            f'[metrics]\nlisten = ""\n'
        )

    def steer_toml(self, index: int) -> str:
        """One of the two steering nodes; loopback counts as a proxy, so that the check can speak for other networks."""
        return (
            f'[listen]\nhost = "127.0.0.1"\nport = {self.port + 100 + index}\nworkers = 1\n'
            f'[control]\nurls = ["{self.control_url}"]\ntoken_file = "{self.control_folder}/steering.token"\n'
            f'[snapshot]\nfolder = "{self.folder}/steer-{index + 1}"\n'
            f'[answers]\nttl_s = 10\n[clients]\ntrusted_proxies = ["127.0.0.0/8"]\n'
        )

    def publish_toml(self) -> str:
        """A quick encode: the demo shows a network, not a picture."""
        return (
            f'[store]\nurl = "{self.origin_folder}"\n[work]\nfolder = "{self.folder}/work"\n'
            f'[video]\npreset = "veryfast"\n[ladder]\nsegment_s = 2.0\n'
        )


def appliances() -> tuple[str, ...]:
    """All appliances of the demo, in the order of their addresses."""
    return tuple(name for site in SITES for name in site.appliances)


def site_of(appliance: str) -> str:
    """The site that an appliance belongs to."""
    return next(site.site_id for site in SITES if appliance in site.appliances)
