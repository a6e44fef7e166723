"""What /metrics says of routes, as one node knows them."""

from collections.abc import Iterable, Mapping

from headrace.control.loops.routing import Routing
from headrace.routes.hygiene import FilterReason, count_reasons
from headrace.routes.model import SessionState
from headrace.routes.retention import Standing
from headrace.routes.rpki import VrpState
from headrace.routes.view import RoutesView


def filtered_counts(view: RoutesView) -> Mapping[FilterReason, int]:
    """How many routes of tables that count are left out, by reason."""
    totals = dict.fromkeys(FilterReason, 0)
    for appliance in view.appliances.values():
        for one in appliance.sessions:
            if one.is_damped:
                totals[FilterReason.SESSION_DAMPED] += len(one.counted.table)
                continue
            for reason, count in count_reasons(one.counted.table.reasons).items():
                totals[reason] += count
            if one.counted.damped:
                totals[FilterReason.DAMPED] += int(one.counted.damped_mask().sum())
    return totals


def metric_lines(routing: Routing) -> Iterable[str]:
    """Lines for /metrics, without line breaks."""
    view = routing.view()
    states = dict.fromkeys(((state, standing) for state in SessionState for standing in Standing), 0)
    for appliance in view.appliances.values():
        for one in appliance.sessions:
            states[one.session.state, one.counting.standing] += 1
    yield "# HELP headrace_control_route_sessions BGP sessions by state and by whether their routes count."
    yield "# TYPE headrace_control_route_sessions gauge"
    for (state, standing), count in states.items():
        if count or (str(state) == str(standing)):
            yield f'headrace_control_route_sessions{{state="{state}",standing="{standing}"}} {count}'
    yield "# HELP headrace_control_routes_filtered Routes that do not count, by reason."
    yield "# TYPE headrace_control_routes_filtered gauge"
    for reason, count in filtered_counts(view).items():
        yield f'headrace_control_routes_filtered{{reason="{reason}"}} {count}'
    yield "# HELP headrace_control_route_changes_total Changes of heard routes that this node saw."
    yield "# TYPE headrace_control_route_changes_total counter"
    for kind, count in routing.counts.changes.items():
        yield f'headrace_control_route_changes_total{{kind="{kind}"}} {count}'
    yield "# HELP headrace_control_hearings Groups of appliances that hear the same."
    yield "# TYPE headrace_control_hearings gauge"
    yield f"headrace_control_hearings {len(view.hearings)}"
    yield "# HELP headrace_control_route_tables_failed_total Tables that could not be read."
    yield "# TYPE headrace_control_route_tables_failed_total counter"
    yield f"headrace_control_route_tables_failed_total {routing.counts.failed_tables}"
    yield "# HELP headrace_control_routing_turn_seconds Duration of the last turn that changed something."
    yield "# TYPE headrace_control_routing_turn_seconds gauge"
    yield f"headrace_control_routing_turn_seconds {routing.counts.turn_duration_s:.6f}"
    yield "# HELP headrace_control_rpki_data 1 for the state of the file of validated payloads."
    yield "# TYPE headrace_control_rpki_data gauge"
    for vrp_state in VrpState:
        yield f'headrace_control_rpki_data{{state="{vrp_state}"}} {int(view.vrps.state is vrp_state)}'
