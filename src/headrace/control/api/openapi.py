"""The OpenAPI document: FastAPI's, with what each route asks of its caller and every refusal as a problem document."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from headrace.control.access import ROUTES, Access
from headrace.control.api.problems import MEDIA_TYPE
from headrace.wire.operator import Problem

_REFERENCE = "#/components/schemas/{model}"

_REFUSALS = {
    "401": "No token, or one that is unknown, expired or revoked.",
    "403": "The token may not do this.",
    "404": "There is no such thing.",
    "409": "Somebody else changed it first, or a rule forbids it now.",
    "413": "The body is too large.",
    "422": "What was sent cannot be used; `detail` names the field.",
    "429": "Too many failed attempts from this address.",
    "500": "A fault of the control plane.",
    "503": "The store does not answer, or the node is busy or stopping: try again.",
}


def body_of(shape: Any) -> dict[str, Any]:
    """The request body of a route that reads `shape` by itself."""
    schema = TypeAdapter(shape).json_schema(ref_template=_REFERENCE)
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def describe(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = TypeAdapter(Problem).json_schema(ref_template=_REFERENCE)
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        document["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "description": "hro_..., hra_... or hrj_..."}
        }
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                _complete(operation, ROUTES[method.upper(), path], schemas)
        app.openapi_schema = document
    return app.openapi_schema


def _complete(operation: dict[str, Any], access: Access, schemas: dict[str, Any]) -> None:
    answers = operation["responses"]
    for status, text in _REFUSALS.items():
        if access is Access.PUBLIC and status == "403":
            continue
        schema = {"$ref": _REFERENCE.format(model="Problem")}
        answers[status] = {"description": text, "content": {MEDIA_TYPE: {"schema": schema}}}
    if access is not Access.PUBLIC:
        operation["security"] = [{"bearer": []}]
        operation["description"] = f"{operation.get('description', '')}\n\nNeeds: {access}.".strip()
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    schemas.update(body.pop("$defs", {}))
