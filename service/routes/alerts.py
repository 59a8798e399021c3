"""Alerts for those who poll, and the rules that raise them."""

from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from service import alerts, webhooks
from service.errors import problem
from service.holder import CACHING
from service.routes.shared import BODY, ERRORS, Cursor, Since, next_after, opened, utc
from service.schemas import AlertList, AlertRule, AlertRuleBody, AlertRules, DeliveryList, WebhookSecret

router = APIRouter(tags=["alerts"])
RuleId = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_-]{0,63}$", description="Id of a rule.", examples=["japan"])]
_HERE = {"Cache-Control": CACHING}


@router.get("/v1/alerts", response_model=AlertList, responses=ERRORS, summary="What was raised and cleared, latest first")
def listed(
    request: Request,
    since: Since = None,
    limit: Annotated[int, Query(ge=1, le=500, description="Alerts a page.", examples=[100])] = 100,
    cursor: Cursor = None,
) -> Response:
    """Each names its snapshot and the evidence. Ids are stable: who has seen one need not act on it again."""
    store = request.app.state.holder.store.store
    names = alerts.names(store, None if since is None else utc(since))
    if cursor is not None:
        names = [name for name in names if name < opened(cursor)["s"]]
    following = next_after(names[limit - 1]) if len(names) > limit else b"null"
    body = b'{"next":' + following + b',"alerts":[' + b",".join(store.read(name) for name in names[:limit]) + b"]}"
    return Response(body, media_type="application/json", headers=_HERE)


@router.get("/v1/alert-rules", response_model=AlertRules, responses=ERRORS, summary="The rules")
def rules(request: Request) -> Response:
    """`standing` is there from the beginning, for all units; one stored under that id takes its place."""
    found = alerts.rules(request.app.state.holder.store.store)
    body = orjson.dumps({"rules": [found[name].model_dump(mode="json") for name in sorted(found)]})
    return Response(body, media_type="application/json", headers=_HERE)


@router.get("/v1/alert-rules/{rule}", response_model=AlertRule, responses=ERRORS, summary="One rule")
def rule(request: Request, rule: RuleId) -> Response:
    """By its id."""
    found = alerts.rules(request.app.state.holder.store.store).get(rule)
    if found is None:
        return problem(404, "unknown-rule", f"no rule {rule!r}; GET /v1/alert-rules lists them")
    return Response(found.model_dump_json(), media_type="application/json", headers=_HERE)


@router.put("/v1/alert-rules/{rule}", response_model=AlertRule, responses=ERRORS | BODY, summary="Set a rule")
def put(request: Request, rule: RuleId, body: AlertRuleBody) -> Response:
    """Weighed from the next publication on. The same request again changes nothing.

    A webhook is an https address of the Internet at large. `quietquota deliver` brings alerts to it: 2xx is receipt, anything else is tried
    again, 16 times in 72 hours.
    """
    if body.webhook is not None:
        try:
            webhooks.checked(body.webhook, request.app.state.webhook_private)
        except webhooks.Unreachable as error:
            return problem(422, "unreachable-webhook", f"webhook {body.webhook!r}: {error}")
    told = alerts.put(request.app.state.holder.store.store, AlertRule(id=rule, **body.model_dump()))
    return Response(told.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})


@router.post("/v1/alert-rules/{rule}/secret", response_model=WebhookSecret, responses=ERRORS, summary="A new secret for a rule's webhook")
def secret(request: Request, rule: RuleId) -> Response:
    """Shown this once. Until the hour it names, deliveries are signed with the one before as well, so that a receiver can change over."""
    store = request.app.state.holder.store.store
    if rule not in alerts.rules(store):
        return problem(404, "unknown-rule", f"no rule {rule!r}; GET /v1/alert-rules lists them")
    told = webhooks.new_secret(store, rule)
    return Response(told.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})


@router.get("/v1/deliveries", response_model=DeliveryList, responses=ERRORS, summary="How the sending of alerts fares")
def deliveries(
    request: Request,
    state: Annotated[Literal["pending", "done", "dead"], Query(description="dead: given up.", examples=["dead"])] = "dead",
) -> Response:
    """The dead letters by default; `quietquota deliver --again ALERT` takes one up anew."""
    found = webhooks.told(request.app.state.holder.store.store, state)
    return Response(DeliveryList(deliveries=found).model_dump_json(), media_type="application/json", headers=_HERE)


@router.delete("/v1/alert-rules/{rule}", status_code=204, response_class=Response, responses=ERRORS, summary="Remove a rule")
def delete(request: Request, rule: RuleId) -> Response:
    """What it raised stays on record."""
    if not alerts.remove(request.app.state.holder.store.store, rule):
        return problem(404, "unknown-rule", f"no rule {rule!r} is stored")
    return Response(status_code=204, headers={"Cache-Control": "no-store"})
