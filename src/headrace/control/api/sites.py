"""Sites: list, show, put, remove."""

from fastapi import APIRouter

from headrace.base.ids import SiteId
from headrace.control.api.guard import GuardedRoute
from headrace.control.api.parts import WithCaller, WithParts, noted
from headrace.control.api.problems import Refusal, invalid, not_found
from headrace.control.checks import check_site
from headrace.control.model import Removal
from headrace.fleet.model import Site

router = APIRouter(route_class=GuardedRoute, tags=["sites"])


@router.get("/v1/sites")
def list_sites(parts: WithParts) -> tuple[Site, ...]:
    """All sites in order of id."""
    return parts.store.sites()


@router.get("/v1/sites/{site_id}")
def show_site(parts: WithParts, site_id: str) -> Site:
    """One site."""
    found = next((site for site in parts.store.sites() if site.site_id == site_id), None)
    if found is None:
        raise not_found(f"site {site_id}")
    return found


@router.put("/v1/sites/{site_id}")
def put_site(parts: WithParts, caller: WithCaller, site_id: str, site: Site) -> Site:
    """Create or replace a site."""
    if site.site_id != site_id:
        raise invalid(f"the body is site {site.site_id!r}, the path says {site_id!r}")
    check_site(site)
    detail = f"{site.kind}, {len(site.prefixes)} prefixes" + (", last resort" if site.is_last_resort else "")
    happened = noted(caller, "site.put", f"site/{site_id}", "operator-asked", detail)
    parts.store.put_site(site, event=happened, now_s=parts.clock.now_s())
    return site


@router.delete("/v1/sites/{site_id}", status_code=204)
def remove_site(parts: WithParts, caller: WithCaller, site_id: str) -> None:
    """Remove a site that has no appliances; its unused join tokens end."""
    happened = noted(caller, "site.removed", f"site/{site_id}", "operator-asked")
    outcome = parts.store.remove_site(SiteId(site_id), event=happened, now_s=parts.clock.now_s())
    if outcome is Removal.MISSING:
        raise not_found(f"site {site_id}")
    if outcome is Removal.IN_USE:
        raise Refusal(409, "in-use", f"site {site_id} still has appliances: move or remove them first")
