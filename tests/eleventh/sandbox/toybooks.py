"""The books of Toybooks on loopback: customers by code, pages of 20, a password."""

from __future__ import annotations

import base64

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.emulator import Emulator, ExactJSONResponse, Shelf, read_json

USER, PASSWORD = "sandbox", "sandbox-password"
PAGE = 20
FIELDS = {"name", "email"}


class Books:
    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def _known(self, request: Request) -> bool:
        mark = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return request.headers.get("authorization") == f"Basic {mark}"

    async def listed(self, request: Request) -> Response:
        if not self._known(request):
            return Response(status_code=401)
        asked = request.query_params
        found = [one for one in self.shelf.all("customer") if one["changed"] >= asked.get("since", "")]
        if code := asked.get("code"):
            return ExactJSONResponse([one for one in found if one["code"] == code])
        first = (int(asked.get("page", "1")) - 1) * PAGE
        return ExactJSONResponse(found[first : first + PAGE])

    async def one(self, request: Request) -> Response:
        if not self._known(request):
            return Response(status_code=401)
        held = self.shelf.where("customer", id=request.path_params["code"])
        return ExactJSONResponse(held[0]) if held else Response(status_code=404)

    async def put(self, request: Request) -> Response:
        if not self._known(request):
            return Response(status_code=401)
        code, given = request.path_params["code"], read_json(await request.body())
        if unknown := sorted(given.keys() - FIELDS):
            told = {"code": "unknown_field", "field": unknown[0], "message": f"{unknown[0]} is no field"}
            return ExactJSONResponse(told, 422)
        known = self.shelf.get("customer", code)
        ident = known["id"] if known else f"c{self.shelf.next('customer'):04d}"
        held = {**(known or {}), **given, "id": ident, "code": code, "changed": self.shelf.now().isoformat()}
        self.shelf.keep("customer", code, held)
        return ExactJSONResponse(held, 200 if known else 201)


def emulator(shelf: Shelf) -> Emulator:
    books = Books(shelf)
    routes = [
        Route("/customers", books.listed),
        Route("/customers/{code}", books.one),
        Route("/customers/{code}", books.put, methods=["PUT"]),
    ]
    return Emulator("toybooks", routes, shelf)
