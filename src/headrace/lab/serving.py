"""What a machine of the lab serves: known content through nginx with the appliance's own configuration. Pure.

The configuration is the one that the agent writes, so that the lab tests what appliances run; only addresses, folders
and the number of workers are the lab's.
"""

from dataclasses import dataclass

from headrace.appliance.nginx_conf import NginxBuild, NginxSettings, render_nginx_conf

PORT = 80
TLS_PORT = 443
APPLIANCE_ID = "lab"
CLIENT_ADDRESS = "10.77.0.2"
MACHINE_ADDRESS = "10.77.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingFolders:
    """Where nginx finds its things, as it sees them itself."""

    content: str
    run: str
    certificate: str
    key: str


_PROTOCOLS = "ssl_protocols TLSv1.2 TLSv1.3;"
_KERNEL_TLS = "ssl_conf_command Options KTLS;"


def lab_nginx_conf(
    folders: ServingFolders, build: NginxBuild, *, workers: int, has_tls: bool = True, has_kernel_tls: bool = False
) -> str:
    """The appliance's configuration for a machine of the lab.

    Args:
        has_kernel_tls: nginx asks the kernel to encrypt; it falls back without a word where it or its OpenSSL cannot.
    """
    settings = NginxSettings(
        appliance_id=APPLIANCE_ID,
        listen=(f"{MACHINE_ADDRESS}:{PORT}",),
        tls_listen=(f"{MACHINE_ADDRESS}:{TLS_PORT}",) if has_tls else (),
        tls_certificate=folders.certificate if has_tls else "",
        tls_key=folders.key if has_tls else "",
        serve_root=folders.content,
        run_folder=folders.run,
        access_log=f"{folders.run}/access.log",
        redirect_url="http://origin.invalid",
        worker_user="root",
        workers=workers,
    )
    conf = render_nginx_conf(settings, build)
    return conf.replace(_PROTOCOLS, f"{_PROTOCOLS} {_KERNEL_TLS}") if has_kernel_tls else conf
