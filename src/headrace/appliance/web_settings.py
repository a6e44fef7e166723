"""Which settings nginx gets from the agent's configuration; where misses go the control plane says later."""

from headrace.appliance.config import AgentConfig, OnMiss
from headrace.appliance.nginx_conf import NginxSettings


def nginx_settings(config: AgentConfig) -> NginxSettings:
    """nginx's part of the configuration; its folder is state/nginx."""
    nginx = config.nginx
    run_folder = config.state / "nginx"
    return NginxSettings(
        appliance_id=config.appliance_id,
        listen=nginx.listen,
        tls_listen=nginx.tls_listen,
        tls_certificate=nginx.tls_certificate,
        tls_key=nginx.tls_key,
        serve_root=str(config.state / "serve"),
        run_folder=str(run_folder),
        access_log=str(run_folder / "access.log"),
        is_proxying=nginx.on_miss is OnMiss.PROXY,
        resolvers=nginx.resolvers,
        worker_user=nginx.user,
        workers=nginx.workers,
        has_disk_threads=nginx.disk_threads,
        keep_open_s=nginx.keep_open_s,
    )
