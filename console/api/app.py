"""The consent API of a home as an application of its own, to be mounted, or served alone."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from consent.errors import AssentError
from consent.home import Home
from console.api import bodies, problems
from console.api.door import Door
from console.api.routes import router

#: Where the officer's console has it.
MOUNTED_AT = "/api/v1"
_ABOUT = """What a lender's app tells and asks: record a yes or a no, withdraw, ask where a person stands, get a
receipt.

Customer numbers stand in bodies alone, never in an address, a header or a log. Withdrawing takes one field, and no
other role than giving. When a withdrawal is answered, nothing of it can be read or loaded any more, in any process.
Errors are `application/problem+json` with a stable `code` and a `remedy`."""


def create_api(home: Home) -> FastAPI:
    """The consent API; `/openapi.json` describes it."""
    app = FastAPI(
        title="Assent consent API",
        version="1",
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        openapi_tags=[],
    )
    app.state.home = home
    app.include_router(router)
    app.add_exception_handler(AssentError, problems.of_error)
    app.add_exception_handler(RequestValidationError, problems.of_body)
    app.add_exception_handler(HTTPException, problems.of_status)
    app.add_middleware(Door, home=home)
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    return app


def _described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI page, with the shape of problems and how to sign in."""
    if app.openapi_schema is None:
        page = FastAPI.openapi(app)
        parts = page.setdefault("components", {})
        parts.setdefault("schemas", {})["Problem"] = bodies.Problem.model_json_schema()
        parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        page["security"] = [{"token": []}]
        app.openapi_schema = page
    return app.openapi_schema
