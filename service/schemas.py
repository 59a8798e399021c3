"""What the service answers: one typed model a response, with unit, conditioning and an example on every field."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Month = Annotated[str, Field(pattern=r"^\d{4}-\d\d$", description="Calendar month the figure is about, YYYY-MM.", examples=["2024-12"])]
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
    counterfactual_kg: float | None = Field(description=f"{_KG} Median flow expected in the open regime.", examples=[1417000])
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


class RegimeAnswer(Conditioning):
    """One unit."""

    regime: Regime


class RegimeTable(Conditioning):
    """All units, or those asked for; highest probability first, abstentions last."""

    regimes: list[Regime]


class Health(_Schema):
    status: Literal["ok"] = Field(description="The process answers.", examples=["ok"])


class Readiness(_Schema):
    status: Literal["ready"] = Field(description="A verified snapshot is loaded.", examples=["ready"])
    snapshot: str = Field(description="Its id.", examples=["20261123T020512Z-7f3a9c1e"])


class Problem(_Schema):
    """RFC 9457 problem details."""

    type: str = Field(description="Kind of problem, a relative reference.", examples=["/problems/unknown-unit"])
    title: str = Field(description="The kind in words.", examples=["Not found"])
    status: int = Field(description="HTTP status.", examples=[404])
    detail: str = Field(description="What was asked and what was wrong with it.", examples=["no unit 'CHN.JPN.tea'"])
    request_id: str = Field(description="For the operator's log.", examples=["5f2a9c0e1b7d4a63"])
    errors: list[dict[str, str]] = Field(description="One entry a wrong field: field, reason, value.", examples=[[]])
