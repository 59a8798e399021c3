"""What is assumed, and how it is computed: two frozen records, both hashed into every snapshot.

Priors are stated as (location, scale) of a normal on the scale named in the comment unless said otherwise.
"""

import hashlib

from pydantic import BaseModel, ConfigDict, Field


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def digest(self) -> str:
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


class Assumptions(_Record):
    """The science. Log flows are natural logs of kg; a severity is the share of the open flow withheld."""

    # Severity is a state on a grid, not a parameter: episodes of one unit differ in depth, and a learned depth
    # per unit swaps restricted and disrupted (docs/decisions/0003).
    # Surges are the innocent opposite, as multiples of the open flow: without them a year of booming orders raises
    # the baseline, and the return to normal reads as "restricted from a higher base" (docs/decisions/0006).
    # A dip of less than a third is left to the noise: with a milder state "disrupted for seven months" and "the baseline
    # sank a little" are two modes of one fit.
    surge: tuple[float, ...] = (1.6, 2.8)
    disrupted: tuple[float, ...] = (0.45, 0.75)
    restricted: tuple[float, ...] = (0.40, 0.65, 0.85, 0.97)
    severity_move: float = Field(default=0.10, description="monthly probability that a restriction changes to a neighbouring severity")

    # Base rate: Ferguson (2025) counts 53 deniable Chinese measures in 2000-2023. Over some twenty targets that
    # is 53 / (288 months x 20) = 0.009 a target-month. The prior spans a factor of 3 either way.
    entry_targeted: tuple[float, float] = (-4.6, 0.5)  # log odds a month; 0.010
    entry_wide: tuple[float, float] = (-5.1, 0.5)  # log odds a month; 0.006
    entry_spread: float = 0.5  # sd of the importers' and families' deviations, half-normal
    # Tension moves first and volumes follow within a quarter: King & Armstrong (2013) date the 2010 boat
    # incident to 7 Sep, the fall in Japan's imports to Sep-Nov.
    covariate_effect: tuple[float, float] = (0.7, 0.4)  # change of log odds by one sd of the covariate
    covariate_leads: int = 3  # months by which a covariate may lead, 0..this
    covariate_fade: float = 0.8  # a covariate not known any more decays to its mean by this factor a month

    surge_entry: tuple[float, float] = (2.0, 60.0)  # Beta
    surge_exit: tuple[float, float] = (6.0, 18.0)  # Beta; mean spell four months
    payback: float = 0.3  # share of surges that end in a shortfall while stocks are run down, not in `open`
    # A strike, an accident or an outage is made good in weeks: Beta(20, 14) a month, mean spell 1.7 months.
    disruption_entry: tuple[float, float] = (2.0, 60.0)  # Beta, targeted layer
    disruption_entry_wide: tuple[float, float] = (2.0, 50.0)  # Beta, product-wide layer
    disruption_exit: tuple[float, float] = (20.0, 14.0)  # Beta
    # Restrictions last months to years: Japan 2010 two months, Norway's salmon six years. Mean spell ten months.
    restriction_exit: tuple[float, float] = (3.0, 27.0)  # Beta

    # Spreads are log-normal, (log median, log sd): units, months and years do differ, and a spread that may be zero
    # is a funnel in which the sampler diverges.
    drift: tuple[float, float] = (-2.1, 0.5)  # sd of a year's change of the slow baseline (log); 0.12
    season: tuple[float, float] = (-2.7, 0.5)  # sd of month effects (log); 0.07
    lunar: tuple[tuple[float, float], ...] = ((0.0, 0.2), (-0.3, 0.3), (-0.1, 0.2))  # pre, during, post; log
    control_effect: tuple[float, float] = (0.5, 0.3)  # elasticity to the pair's total trade
    noise: tuple[float, float] = (-1.4, 0.6)  # log sd of a unit's monthly log flow; 0.25
    noise_spread: tuple[float, float] = (-1.2, 0.4)  # sd between units; 0.3
    noise_family: tuple[float, float] = (-2.5, 0.3)  # log sd of the family factor; 0.08
    reporting_exporter: float = 0.08  # sd (log), half-normal: the exporter's own office
    reporting_importer: float = 0.20  # sd (log), half-normal: c.i.f., transit and misallocation
    reporter_bias: tuple[float, float] = (-2.0, 0.5)  # sd (log) of the importers' constant biases; 0.14
    transit: tuple[float, float] = (2.0, 5.0)  # Beta: share of a month that the importer books in the next
    residual: tuple[float, float] = (0.2, 0.3)  # atanh of the AR(1) coefficient, units
    residual_family: tuple[float, float] = (0.5, 0.3)  # atanh of the AR(1) coefficient, family factor
    hurdle: tuple[float, float] = (-2.0, 1.5)  # log odds of a zero month for an open flow of 1 t
    hurdle_slope: tuple[float, float] = (0.0, 0.5)  # log of its slope in log kg

    enough_months: int = 24  # observed months below which the answer abstains

    @property
    def multiple(self) -> tuple[float, ...]:
        """Flow in each state as a multiple of the open flow."""
        return (1.0, *self.surge, *(1 - s for s in self.disrupted), *(1 - s for s in self.restricted))

    @property
    def regime(self) -> tuple[str, ...]:
        """The regime each state belongs to; a surge is open."""
        return ("open",) * (1 + len(self.surge)) + ("disrupted",) * len(self.disrupted) + ("restricted",) * len(self.restricted)

    @property
    def states(self) -> tuple[str, ...]:
        surges = [f"open x{m:g}" for m in self.surge]
        cuts = [f"{r} {1 - m:.0%}" for r, m in zip(self.regime, self.multiple, strict=True) if m < 1]
        return ("open", *surges, *cuts)


class Computation(_Record):
    """How it is computed. The same record, panel and lock file give the same draws, bit for bit, on one machine."""

    draws: int = 2200
    tune: int = 500
    chains: int = 2
    cores: int = 2
    target_accept: float = 0.9
    seed: int = 20260301
    probability_draws: int = 400  # draws, spread over the chains, for which states are computed
