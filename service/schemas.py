"""What the service answers: one typed model a response, with unit, conditioning and an example on every field."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Month = Annotated[str, Field(pattern=r"^\d{4}-\d\d$", description="Calendar month the figure is about, YYYY-MM.", examples=["2024-12"])]


def _written_out(value: object) -> object:
    """Numbers are no instants, although they could be read as seconds."""
    if not isinstance(value, datetime) and not re.match(r"\d{4}-\d\d-\d\d", str(value)):
        raise ValueError("is not an RFC 3339 instant or date, such as 2026-11-23T06:00:00Z")
    return value


Instant = Annotated[datetime, BeforeValidator(_written_out)]
Probability = Annotated[float, Field(ge=0, le=1)]
_KG = "Kilograms."


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Causes(_Schema):
    """Competing explanations; the four sum to one."""

    open: Probability = Field(description="No restriction and no disruption (a surge counts as open).", examples=[0.1188])
    disrupted: Probability = Field(description="An innocent shortfall: supply, port, demand, accident.", examples=[0.05])
    targeted: Probability = Field(description="A deliberate restriction aimed at this importer is in force.", examples=[0.6112])
    product_wide: Probability = Field(
        description="A deliberate restriction on every importer of the family, and none targeted.", examples=[0.22]
    )


class MonthAnswer(_Schema):
    """One month of one unit."""

    period: Month
    kind: Literal["filtered", "nowcast", "smoothed"] = Field(
        description="Conditioning. filtered: figures up to this month. nowcast: this month has no figure yet; figures stop before it. "
        "smoothed: all figures known at data_as_of.",
        examples=["filtered"],
    )
    probability: Probability | None = Field(
        description="p(restricted, any scope) = targeted + product_wide, mean over draws.", examples=[0.8312]
    )
    probability_interval: list[float | None] = Field(
        min_length=2, max_length=2, description="5 % and 95 % quantile of the probability across draws.", examples=[[0.71, 0.93]]
    )
    causes: Causes | None = Field(description="The competing explanations.")
    severity_mean: float | None = Field(
        ge=0, le=1, description="Expected share of the open flow withheld, given restricted.", examples=[0.63]
    )
    observed_kg: float | None = Field(
        description=f"{_KG} Flow read off both customs offices; null where neither has a figure.", examples=[526000]
    )
    counterfactual_kg: float | None = Field(description=f"{_KG} Mean flow expected in the open regime.", examples=[1417000])
    counterfactual_kg_interval: list[float | None] = Field(
        min_length=2, max_length=2, description=f"{_KG} 5 % and 95 % quantile, one month's noise included.", examples=[[1010000, 1950000]]
    )
    shortfall_kg_mean: float | None = Field(
        description=f"{_KG} Counterfactual minus observed, whatever the cause; negative = more than expected.", examples=[911000]
    )
    shortfall_kg_p05: float | None = Field(description=f"{_KG} 5 % quantile of the shortfall.", examples=[484000])
    shortfall_kg_p95: float | None = Field(description=f"{_KG} 95 % quantile of the shortfall.", examples=[1424000])


class Regime(_Schema):
    """The current answer for one regime unit."""

    unit: str = Field(description="EXPORTER.IMPORTER.family", examples=["CHN.JPN.rare_earths"])
    exporter: str = Field(description="ISO 3166 alpha-3.", examples=["CHN"])
    importer: str = Field(description="ISO 3166 alpha-3.", examples=["JPN"])
    family: str = Field(description="Commodity family, as configured.", examples=["rare_earths"])
    title: str = Field(description="The family in words.", examples=["Rare-earth permanent magnets"])
    abstention: str | None = Field(description="Why there is no probability; null when there is one.", examples=[None])
    months_observed: int = Field(ge=0, description="Months with a figure from either office.", examples=[84])
    data_through: Month | None = Field(description="Last month with a figure from either office.")
    current: MonthAnswer | None = Field(description="Last month with a figure, filtered.")
    nowcast: MonthAnswer | None = Field(description="The month of data_as_of; a nowcast when it has no figure yet.")
    ahead: list[MonthAnswer] = Field(default=[], description="Nowcasts of the three months after the month of data_as_of.", examples=[[]])
    onset: Month | None = Field(
        default=None, description="First month of the present run of smoothed probability >= 0.5; null when there is none."
    )
    age_months: int | None = Field(
        default=None, ge=1, description="Months from onset to the last month with figures, both counted.", examples=[7]
    )
    evidence: dict[str, float] | None = Field(
        default=None,
        description="Log Bayes factor of each source over the last twelve months (Shapley value): exporter, importer (their figures), "
        "other_families, other_destinations, total_trade, covariates. They add up to log_odds[1] - log_odds[0].",
        examples=[{"exporter": 3.1, "importer": 1.2, "other_families": 0.8, "other_destinations": 0.1, "total_trade": -0.2}],
    )
    log_odds: list[float | None] | None = Field(
        default=None,
        description="Log odds of restricted in the last month with figures: had nothing been heard for twelve months, and as it is.",
        examples=[[-4.2, 1.7]],
    )
    detectability: dict[str, float] | None = Field(
        default=None,
        description="Probability that a squeeze of this depth, begun three months with figures ago, would by now be given p >= 0.5.",
        examples=[{"30%": 0.12, "60%": 0.71, "90%": 0.99}],
    )
    sentence: str = Field(description="The answer in words.", examples=["CHN.JPN.rare_earths, 2024-12 (filtered): ..."])


class Conditioning(_Schema):
    """What an answer depends on; on every answer."""

    as_of: datetime = Field(
        description="What the service said at this instant (UTC); the request's, or now.", examples=["2026-11-23T06:00:00Z"]
    )
    snapshot: str = Field(description="The published snapshot that answered.", examples=["20261123T020512Z-7f3a9c1e"])
    published_at: datetime = Field(description="When that snapshot was published (UTC).", examples=["2026-11-23T02:05:12Z"])
    data_as_of: datetime = Field(description="Only releases up to this instant (UTC) were used.", examples=["2026-11-22T00:00:00Z"])
    data_through: dict[str, str] = Field(description="Last month published, by reporter.", examples=[{"CHN": "2026-10", "JPN": "2026-09"}])
    gate: Literal["PASS", "REVIEW", "FAIL"] = Field(description="The model's checks; REVIEW was published by hand.", examples=["PASS"])
    stale: str | None = Field(
        description="Why this may not be the latest: no store answers, a newer snapshot is damaged, nothing of the last days is in it. "
        "null: no reason to think so; always null where as_of was asked.",
        examples=["store unreachable"],
    )


class RegimeAnswer(Conditioning):
    """One unit."""

    regime: Regime


class RegimeTable(Conditioning):
    """All units, or those asked for; highest probability first, abstentions last."""

    total: int = Field(ge=0, description="Units that match, over all pages.", examples=[24])
    next: str | None = Field(description="Cursor of the next page; null on the last.", examples=[None])
    regimes: list[Regime]


class Query(_Schema):
    """Which units, of one snapshot."""

    units: list[Annotated[str, Field(max_length=200)]] = Field(
        min_length=1, max_length=1000, description="Unit ids.", examples=[["CHN.JPN.rare_earths", "CHN.USA.rare_earths"]]
    )
    as_of: Instant | None = Field(
        default=None, description="What the service would have said at this instant. Default: now.", examples=["2026-11-23T06:00:00Z"]
    )


class QueryAnswer(Conditioning):
    regimes: list[Regime] = Field(description="In the order asked.")
    unknown: list[str] = Field(description="Units that the snapshot does not have.", examples=[["CHN.FRA.tea"]])


class HistoryAnswer(Conditioning):
    """One unit's months, all of one conditioning."""

    unit: str = Field(description="EXPORTER.IMPORTER.family", examples=["CHN.JPN.rare_earths"])
    kind: Literal["filtered", "smoothed", "nowcast"] = Field(description="Conditioning of every month.", examples=["smoothed"])
    months: list[MonthAnswer] = Field(description="Oldest first.")


class Publication(_Schema):
    """What was said at one publication."""

    said_at: datetime = Field(description="When it became the current answer (UTC).", examples=["2026-11-23T02:05:12Z"])
    snapshot: str = Field(description="The snapshot that said it.", examples=["20261123T020512Z-7f3a9c1e"])
    abstention: str | None = Field(description="Why there was no probability.", examples=[None])
    month: MonthAnswer | None = Field(description="The last month with figures then, filtered.")


class AsPublished(Conditioning):
    """One unit as it was published, publication by publication."""

    unit: str = Field(description="EXPORTER.IMPORTER.family", examples=["CHN.JPN.rare_earths"])
    kind: Literal["as_published"] = Field(description="Real time: no later figure and no later parameter.", examples=["as_published"])
    publications: list[Publication] = Field(description="Oldest first.")


class Evidence(_Schema):
    """What moved the log odds of a restriction over the last twelve months with figures."""

    unit: str = Field(description="EXPORTER.IMPORTER.family", examples=["CHN.JPN.rare_earths"])
    abstention: str | None = Field(description="Why there is none.", examples=[None])
    data_through: Month | None = Field(description="Last month with a figure from either office.")
    evidence: dict[str, float] | None = Field(
        description="Log Bayes factor of each source (Shapley value); they add up to log_odds[1] - log_odds[0].",
        examples=[{"exporter": 3.1, "importer": 1.2, "other_families": 0.8, "other_destinations": 0.1, "total_trade": -0.2}],
    )
    log_odds: list[float | None] | None = Field(
        description="Had nothing been heard for twelve months, and as it is.", examples=[[-4.2, 0.8]]
    )
    detectability: dict[str, float] | None = Field(
        description="Probability that a squeeze of this depth, begun three months with figures ago, would by now be given p >= 0.5.",
        examples=[{"30%": 0.12, "60%": 0.71, "90%": 0.99}],
    )
    sentence: str = Field(description="The answer in words.", examples=["CHN.JPN.rare_earths, 2024-12 (filtered): ..."])


class EvidenceAnswer(Conditioning):
    evidence: Evidence


class Shortfall(_Schema):
    """One month: observed, and expected in the open regime; smoothed."""

    period: Month
    observed_kg: float | None = Field(description=f"{_KG} null where neither office has a figure.", examples=[526000])
    counterfactual_kg: float | None = Field(description=f"{_KG} Mean flow expected in the open regime.", examples=[1417000])
    counterfactual_kg_interval: list[float | None] = Field(
        min_length=2, max_length=2, description=f"{_KG} 5 % and 95 % quantile, one month's noise included.", examples=[[1010000, 1950000]]
    )
    shortfall_kg_mean: float | None = Field(description=f"{_KG} Negative = more than expected.", examples=[911000])
    shortfall_kg_p05: float | None = Field(description=f"{_KG} 5 % quantile.", examples=[484000])
    shortfall_kg_p95: float | None = Field(description=f"{_KG} 95 % quantile.", examples=[1424000])


class CounterfactualAnswer(Conditioning):
    unit: str = Field(description="EXPORTER.IMPORTER.family", examples=["CHN.JPN.rare_earths"])
    months: list[Shortfall] = Field(description="Oldest first.")
    shortfall_kg_total: float = Field(description=f"{_KG} Sum of the means over these months, whatever the cause.", examples=[2911000])


class Release(_Schema):
    """One figure one customs office published at one time for one month."""

    reporter: str = Field(description="Whose figure it is, ISO 3166 alpha-3.", examples=["JPN"])
    hs_code: str = Field(description="Harmonized System, as the office has it.", examples=["850511000"])
    period: str = Field(
        description="Month the figure is about; two months joined by / where they were published as one.", examples=["2026-01"]
    )
    net_weight_kg: float | None = Field(description=f"{_KG} null where it is suppressed or withdrawn.", examples=[84000])
    released_at: datetime = Field(description="When anyone could first know it (UTC).", examples=["2026-03-20T00:00:00Z"])
    released_at_basis: Literal["stated", "inferred"] = Field(
        description="inferred: rebuilt from the office's release calendar.", examples=["inferred"]
    )
    status: Literal["reported", "suppressed", "withdrawn", "estimated"] = Field(description="Kind of figure.", examples=["reported"])
    source: str = Field(description="Where it was read.", examples=["gacc"])


class ReleasesAnswer(Conditioning):
    unit: str = Field(description="EXPORTER.IMPORTER.family", examples=["CHN.JPN.rare_earths"])
    releases: list[Release] = Field(description="Oldest release first.")


class FamilyInfo(_Schema):
    family: str = Field(description="Slug.", examples=["rare_earths"])
    title: str = Field(description="In words.", examples=["Rare earths: metals, compounds and magnets"])
    importers: list[str] = Field(description="ISO 3166 alpha-3.", examples=[["JPN", "USA"]])
    restricted: int = Field(ge=0, description="Units given p >= 0.5 in their last month with figures.", examples=[1])


class FamilyList(Conditioning):
    families: list[FamilyInfo]


class ImporterInfo(_Schema):
    importer: str = Field(description="ISO 3166 alpha-3.", examples=["JPN"])
    families: list[str] = Field(description="Slugs.", examples=[["rare_earths"]])
    restricted: int = Field(ge=0, description="Units given p >= 0.5 in their last month with figures.", examples=[1])


class ImporterList(Conditioning):
    importers: list[ImporterInfo]


class SnapshotSummary(_Schema):
    """One publication: immutable."""

    id: str = Field(description="Time and content.", examples=["20261123T020512Z-7f3a9c1e"])
    published_at: datetime = Field(description="UTC.", examples=["2026-11-23T02:05:12Z"])
    fitted_at: datetime | None = Field(description="When its draws were fitted; UTC.", examples=["2026-11-23T02:05:02Z"])
    weighed_from: str | None = Field(
        default=None,
        description="Snapshot of the fit whose draws were weighed by newer figures; null where it was fitted to its own.",
        examples=["20261120T020512Z-1b2c3d4e"],
    )
    data_as_of: datetime = Field(description="Only releases up to this instant (UTC) were used.", examples=["2026-11-22T00:00:00Z"])
    data_through: dict[str, str] = Field(description="Last month published, by reporter.", examples=[{"CHN": "2026-10"}])
    exporter: str | None = Field(description="ISO 3166 alpha-3.", examples=["CHN"])
    gate: Literal["PASS", "REVIEW", "FAIL"] = Field(description="The model's checks.", examples=["PASS"])
    panel_sha256: str | None = Field(description="Of all figures it was fitted to.", examples=["9c1e"])
    log: str | None = Field(description="Fingerprint of the log it was read from.", examples=["7f3a9c1e7f3a9c1e"])
    sources: str | None = Field(description="Whose figures it holds.", examples=["comtrade, gacc"])
    versions: dict[str, str] | None = Field(description="Of Python and the packages that fitted.", examples=[{"pymc": "6.4.0"}])
    files: dict[str, dict[str, str | int]] = Field(
        description="SHA-256 and size of each file.", examples=[{"answers.json": {"sha256": "9c1e", "bytes": 1204}}]
    )


class SnapshotListed(SnapshotSummary):
    current: bool = Field(description="Whether it is the one served.", examples=[True])


class SnapshotList(_Schema):
    snapshots: list[SnapshotListed] = Field(description="Latest first.")
    next: str | None = Field(description="Cursor of the next page; null on the last.", examples=[None])


class SnapshotInfo(SnapshotSummary):
    assumptions: dict[str, Any] | None = Field(
        description="Priors and states, as fitted.", examples=[{"restricted": [0.35, 0.6, 0.8, 0.96]}]
    )
    computation: dict[str, Any] | None = Field(description="Chains, draws, seed.", examples=[{"draws": 1000}])


class CheckOutcome(_Schema):
    model_config = ConfigDict(extra="allow")

    name: str = Field(description="Of the check.", examples=["rhat_max"])
    outcome: Literal["PASS", "REVIEW", "FAIL"] = Field(description="By its thresholds.", examples=["PASS"])
    source: str | None = Field(
        default=None, description="Whose threshold it is; absent in snapshots of before.", examples=["Betancourt (2017), arXiv:1701.02434"]
    )


class Checks(_Schema):
    """The gate that the snapshot went through."""

    snapshot: str = Field(description="Id.", examples=["20261123T020512Z-7f3a9c1e"])
    gate: Literal["PASS", "REVIEW", "FAIL"] = Field(description="The worst of its checks.", examples=["PASS"])
    checks: list[CheckOutcome]


class Calibration(_Schema):
    """Scores where the truth was known; by kind of forecast (real_time, nowcast, smoothed), each with a 5-95 % interval."""

    model_config = ConfigDict(extra="allow")

    scored_at: datetime = Field(description="UTC.", examples=["2026-11-23T02:05:12Z"])
    worlds: list[str] = Field(description="What the forecasts were scored on.", examples=[["world"]])
    scores: dict[str, dict[str, Any]] = Field(description="By kind of forecast.", examples=[{"filtered": {"skill": [0.65, 0.5, 0.75]}}])


class AlertRuleBody(_Schema):
    """On at p >= `on` in that many publications in a row, off below `off`; p is of the last month with figures, filtered."""

    on: Probability = Field(description="Raised at or above it.", examples=[0.5])
    off: Probability = Field(description="Cleared below it; at most `on`, so that what lies between raises nothing twice.", examples=[0.3])
    publications: int = Field(default=1, ge=1, le=60, description="Publications in a row at or above `on`.", examples=[2])
    unit: Annotated[str, Field(max_length=200)] | None = Field(
        default=None, description="This unit only.", examples=["CHN.JPN.rare_earths"]
    )
    importer: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] | None = Field(default=None, description="This importer only.", examples=["JPN"])
    family: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)] | None = Field(
        default=None, description="This family only.", examples=["rare_earths"]
    )

    webhook: Annotated[str, Field(max_length=2000, pattern=r"^https?://[^ ]+$")] | None = Field(
        default=None, description="Where alerts are sent, signed; see `POST /v1/alert-rules/{rule}/secret`.",
        examples=["https://example.org/alerts"],
    )  # fmt: skip

    @model_validator(mode="after")
    def _with_hysteresis(self) -> "AlertRuleBody":
        if self.off > self.on:
            raise ValueError("off is above on: what is raised would be cleared at once")
        return self


class AlertRule(AlertRuleBody):
    id: str = Field(description="Of the rule.", examples=["japan"])
    webhook_since: datetime | None = Field(
        default=None, description="Since when alerts are sent there; those before are not.", examples=["2026-11-23T02:05:20Z"]
    )

    def concerns(self, row: dict[str, Any]) -> bool:
        return all(getattr(self, name) in (None, row[name]) for name in ("unit", "importer", "family"))


class AlertRules(_Schema):
    rules: list[AlertRule] = Field(description="By id.")


class Alert(_Schema):
    """A rule that turned on or off for a unit, at one publication."""

    id: str = Field(description="Of rule, unit and snapshot.", examples=["9c1e7f3a9c1e7f3a"])
    rule: str = Field(description="Id of the rule.", examples=["standing"])
    unit: str = Field(description="EXPORTER.IMPORTER.family", examples=["CHN.JPN.rare_earths"])
    event: Literal["raised", "cleared"] = Field(description="What happened.", examples=["raised"])
    raised_at: datetime = Field(description="When the publication was weighed (UTC).", examples=["2026-11-23T02:05:20Z"])
    snapshot: str = Field(description="The snapshot that was weighed.", examples=["20261123T020512Z-7f3a9c1e"])
    period: Month
    probability: Probability = Field(description="p(restricted) in that month, filtered.", examples=[0.83])
    threshold: Probability = Field(description="What it crossed.", examples=[0.5])
    evidence: dict[str, float] | None = Field(description="Log Bayes factor of each source.", examples=[{"exporter": 3.1, "importer": 1.2}])
    sentence: str = Field(description="The answer in words.", examples=["CHN.JPN.rare_earths, 2024-12 (filtered): ..."])


class AlertList(_Schema):
    next: str | None = Field(description="Cursor of the next page; null on the last.", examples=[None])
    alerts: list[Alert] = Field(description="Latest first.")


class Delivery(_Schema):
    """How the sending of one alert to its rule's webhook fares."""

    alert: str = Field(description="Id of the alert, which is the header `webhook-id`.", examples=["9c1e7f3a9c1e7f3a"])
    rule: str = Field(description="Id of the rule.", examples=["japan"])
    url: str | None = Field(description="Where it is sent.", examples=["https://example.org/alerts"])
    state: Literal["pending", "done", "dead"] = Field(description="dead: given up after 16 tries in 72 hours.", examples=["pending"])
    tries: int = Field(default=0, description="So far.", examples=[2])
    tried_at: datetime | None = Field(default=None, description="The last try.", examples=["2026-11-23T02:06:20Z"])
    next_at: datetime | None = Field(default=None, description="The next, where there will be one.", examples=["2026-11-23T02:08:20Z"])
    error: str | None = Field(default=None, description="What went wrong last.", examples=["the receiver answers 500"])


class DeliveryList(_Schema):
    deliveries: list[Delivery] = Field(description="By alert.")


class WebhookSecret(_Schema):
    """Shown once."""

    secret: str = Field(
        description="Base64 after `whsec_`, as Standard Webhooks has it.", examples=["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"]
    )
    others_hold_until: datetime | None = Field(
        description="Until when secrets made before go on signing beside it.", examples=["2026-11-24T02:05:20Z"]
    )


class WhatIfRelease(_Schema):
    """A figure that nobody has reported, in the place of what is known of its cell."""

    period: Month
    reporter: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = Field(description="The office, exporter's or importer's.", examples=["CHN"])
    net_weight_kg: float = Field(ge=0, le=1e14, allow_inf_nan=False, description="kg; 0 is a month of nothing.", examples=[120000.0])
    hs_code: Annotated[str, Field(pattern=r"^\d{2,10}$")] | None = Field(
        default=None, description="Needed where the unit has several codes.", examples=["280530"]
    )


class WhatIfCovariate(_Schema):
    """A value of a covariate, for all units of the importer; later months fade from it to the usual."""

    series: str = Field(max_length=100, description="Name of the covariate.", examples=["gpr"])
    period: Month
    value: float = Field(allow_inf_nan=False, description="In the covariate's own unit.", examples=[180.0])


class WhatIf(_Schema):
    """Figures, or a path of tension, or both."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": [n], "properties": {n: {"minItems": 1}}} for n in ("releases", "covariates")]}
    )

    releases: list[WhatIfRelease] = Field(default=[], max_length=500, description="Figures.")
    covariates: list[WhatIfCovariate] = Field(default=[], max_length=500, description="Covariates.")

    @model_validator(mode="after")
    def _something(self) -> "WhatIf":
        if not self.releases and not self.covariates:
            raise ValueError("name at least one release or covariate")
        return self


class Thought(_Schema):
    """A month's answer, before or after."""

    probability: Probability = Field(description="p(restricted).", examples=[0.83])
    probability_interval: list[Probability] = Field(description="5 % and 95 % quantiles across draws.", examples=[[0.6, 0.95]])
    causes: Causes


class WhatIfMonth(_Schema):
    period: Month
    kind: Literal["filtered", "nowcast"] = Field(
        description="nowcast: the unit has no figure of the month, asked about or known.", examples=["filtered"]
    )
    before: Thought = Field(description="As published, of the draws that are held.")
    after: Thought = Field(description="Had it been so.")


class WhatIfAnswer(Conditioning):
    """Probabilities of a unit had other figures been reported. Nothing is fitted, and nothing is kept."""

    unit: str = Field(description="EXPORTER.IMPORTER.family", examples=["CHN.JPN.rare_earths"])
    draws: int = Field(description="Draws of the published posterior that were filtered.", examples=[64])
    effective_draws: float = Field(
        description="As how many they count once weighed by the figures asked about; few mean that only a fit can tell.", examples=[41.3]
    )
    months: list[WhatIfMonth] = Field(description="From the first month touched to the last that the snapshot speaks of.")
    approximations: list[str] = Field(description="What is not thought through.", examples=[["nothing is fitted: ..."]])


class Health(_Schema):
    status: Literal["ok"] = Field(description="The process answers.", examples=["ok"])


class Readiness(_Schema):
    status: Literal["ready"] = Field(description="A verified snapshot is loaded.", examples=["ready"])
    snapshot: str = Field(description="Its id.", examples=["20261123T020512Z-7f3a9c1e"])
    stale: str | None = Field(description="Why it may not be the latest.", examples=[None])


class Problem(_Schema):
    """RFC 9457 problem details."""

    type: str = Field(description="Kind of problem, a relative reference.", examples=["/problems/unknown-unit"])
    title: str = Field(description="The kind in words.", examples=["Not found"])
    status: int = Field(description="HTTP status.", examples=[404])
    detail: str = Field(description="What was asked and what was wrong with it.", examples=["no unit 'CHN.JPN.tea'"])
    request_id: str = Field(description="For the operator's log.", examples=["5f2a9c0e1b7d4a63"])
    errors: list[dict[str, str]] = Field(description="One entry a wrong field: field, reason, value.", examples=[[]])
