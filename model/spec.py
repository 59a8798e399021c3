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
    # That accidents and measures have severities of their own makes of some depths the one and of some the other; sharing them was tried
    # (docs/decisions/0027).
    surge: tuple[float, ...] = (1.6, 2.8)
    disrupted: tuple[float, ...] = (0.45, 0.75)
    restricted: tuple[float, ...] = (0.33, 0.55, 0.72, 0.84, 0.92, 0.98)
    parted: tuple[float, ...] = (0.55, 0.84, 0.98)
    severity_move: float = Field(default=0.10, description="monthly probability that a restriction changes to a neighbouring severity")

    # Base rate: Ferguson (2025) counts 53 deniable Chinese measures in 2000-2023. Over some twenty targets that
    # is 53 / (288 months x 20) = 0.009 a target-month: a campaign. The prior spans a factor of 3 either way.
    campaign: tuple[float, float] = (-4.6, 0.5)  # log odds a month that a campaign against an importer begins; 0.010
    campaign_pace: tuple[tuple[float, float], ...] = ((12.0, 12.0), (4.0, 32.0))  # Beta: measures are taken for 2 months; it lasts 9
    # Norway, Australia, Lithuania, Japan 2010: several goods of one target, not all, within weeks of each other.
    entry_join: tuple[float, float] = (-0.4, 0.5)  # log odds a month that a family is hit while a campaign opens
    entry_late: tuple[float, float] = (-4.0, 0.5)  # the same, later in a campaign
    entry_lone: tuple[float, float] = (-5.8, 0.6)  # a measure on one good, outside any campaign
    spare: tuple[float, float] = (0.5, 1.5)  # Beta: share of measures on a family that leave a given code of it out
    entry_spread: float = 0.5  # sd of the importers' and families' deviations, half-normal
    product_wide: tuple[float, float] = (-5.1, 0.5)  # log odds a month that a measure on all importers begins; 0.006
    # Tension moves first and volumes follow within a quarter: King & Armstrong (2013) date the 2010 boat
    # incident to 7 Sep, the fall in Japan's imports to Sep-Nov. An incident is a rise, and a rise is news beside the level.
    covariate_effect: tuple[float, float] = (0.5, 0.4)  # change of log odds by one sd of the covariate, or of its rise
    covariate_memory: int = 6  # months whose mean a rise is measured from
    covariate_leads: int = 3  # months by which a covariate may lead, 0..this
    covariate_fade: float = 0.8  # a covariate not known any more decays to its mean by this factor a month

    # Whatever befalls a family, some importers are left out of it: licences are granted country by country, and stocks and
    # contracts differ. Stationary share a third, since at most half of a family's flow can differ from its common course.
    exempt_entry: tuple[float, float] = (2.0, 38.0)  # Beta
    exempt_exit: tuple[float, float] = (2.0, 18.0)  # Beta
    # Under a measure on a product, severity is settled importer by importer, and so is what a mine's accident leaves to each;
    # that one fares worse than the rest is no campaign against it.
    parting: tuple[float, float] = (3.0, 12.0)  # Beta: monthly probability of a severity of one's own, once the shortfall is deep
    parting_from: float = Field(default=0.6, description="common shortfall (log) beyond which importers go ways of their own")
    hold: float = Field(default=0.95, description="monthly probability of keeping one's own severity while the shortfall is deep")
    stays_down: float = Field(default=0.1, description="share of those that have a severity of their own which are restricted after it")
    unevenness: float = 0.3  # sd (log) by which importers fare differently per unit of a common shortfall, half-normal
    surge_entry: tuple[float, float] = (2.0, 60.0)  # Beta
    surge_exit: tuple[float, float] = (6.0, 18.0)  # Beta; mean spell four months
    payback: float = 0.3  # share of surges that end in a shortfall while stocks are run down, not in `open`
    # A strike, an accident or an outage is made good in weeks: Beta(20, 14) a month, mean spell 1.7 months.
    disruption_entry: tuple[float, float] = (2.0, 60.0)  # Beta, targeted layer
    disruption_entry_wide: tuple[float, float] = (2.0, 50.0)  # Beta, product-wide layer
    # A whole product's exports seldom hang on one mine or plant: most of what befalls them by accident takes less than half.
    disruption_depth_wide: tuple[float, ...] = (0.8, 0.2)  # shares of such accidents that begin at each severity of `disrupted`
    disruption_exit: tuple[float, float] = (20.0, 14.0)  # Beta, targeted layer
    # What befalls a product everywhere (a mine, a province, a pandemic) takes a season: mean spell four months.
    disruption_exit_wide: tuple[float, float] = (6.0, 18.0)  # Beta, product-wide layer
    # Restrictions last months to years: Japan 2010 two months, Norway's salmon six years. They end with their campaign.
    restriction_exit: tuple[tuple[float, float], ...] = ((3.0, 20.0), (1.5, 40.0), (6.0, 3.0))  # Beta; calm, campaign, its end

    # Spreads are log-normal, (log median, log sd): units, months and years do differ, and a spread that may be zero
    # is a funnel in which the sampler diverges.
    drift_family: tuple[float, float] = (-2.0, 0.5)  # sd of a year's change of a family's slow baseline (log); 0.14
    # Of rare earths to eight partners, 2018-2024, yearly levels change by 0.45 of the monthly noise, with excess kurtosis 5; of
    # gallium and germanium by 0.8.
    drift: tuple[float, float] = (-0.7, 0.5)  # scale of a year's change of a series' baseline, in units of its noise; 0.5
    drift_tail: float = Field(default=4.0, description="degrees of freedom of those changes")
    season: tuple[float, float] = (-2.7, 0.5)  # sd of month effects (log); 0.07
    lunar: tuple[tuple[float, float], ...] = ((0.0, 0.2), (-0.3, 0.3), (-0.1, 0.2))  # pre, during, post; log
    control_effect: tuple[float, float] = (0.8, 0.3)  # elasticity to the pair's total trade
    frontload: float = 0.15  # share of an excess stock that is paid back a month, half-normal
    frontload_keep: float = 0.7  # share of the excess stock left after a month
    frontload_from: float = 0.3  # excess over the expected flow that is stockpiling rather than noise
    noise: tuple[float, float] = (-1.4, 0.6)  # log sd of a unit's monthly log flow; 0.25
    noise_spread: tuple[float, float] = (-1.2, 0.4)  # sd between units; 0.3
    noise_family: tuple[float, float] = (-2.5, 0.3)  # log sd of the family factor; 0.08
    reporting_exporter: float = 0.08  # sd (log), half-normal: the exporter's own office
    reporting_importer: float = 0.20  # sd (log), half-normal: c.i.f., transit and misallocation
    preliminary: float = 0.05  # sd (log) by which a figure of the last year, not yet revised, is noisier; half-normal
    preliminary_months: int = 12
    reporter_bias: tuple[float, float] = (-2.0, 0.5)  # sd (log) of the importers' constant biases; 0.14
    transit: tuple[float, float] = (2.0, 5.0)  # Beta: share of a month that the importer books in the next
    residual: tuple[float, float] = (0.2, 0.3)  # atanh of the AR(1) coefficient, units
    residual_family: tuple[float, float] = (0.5, 0.3)  # atanh of the AR(1) coefficient, family factor
    hurdle: tuple[float, float] = (-2.0, 1.5)  # log odds of a zero month for an open flow of 1 t
    hurdle_spread: tuple[float, float] = (-0.4, 0.4)  # sd (log) of the series' own log odds of a zero; 0.7: some buy by the year
    hurdle_slope: tuple[float, float] = (0.0, 0.5)  # log of its slope in log kg

    enough_months: int = 24  # observed months below which the answer abstains

    @property
    def multiple(self) -> tuple[float, ...]:
        """Flow in each state as a multiple of the open flow; in the exempt state, which is open, of what the flow is without
        the family's common shortfall."""
        return (1.0, 1.0, *self.surge, *(1 - s for s in (*self.disrupted, *self.restricted, *self.parted)))

    @property
    def regime(self) -> tuple[str, ...]:
        """The regime each state belongs to; a surge is open. What has ``parted`` is what its family is."""
        cuts = [(name, len(getattr(self, name))) for name in ("disrupted", "restricted", "parted")]
        return tuple(regime for regime, count in [("open", 2 + len(self.surge)), *cuts] for _ in range(count))

    @property
    def states(self) -> tuple[str, ...]:
        surges = [f"open x{m:g}" for m in self.surge]
        cuts = [f"{r} {1 - m:.0%}" for r, m in zip(self.regime, self.multiple, strict=True) if m < 1]
        return ("open", "open exempt", *surges, *cuts)


class Computation(_Record):
    """How it is computed. The same record, panel and lock file give the same draws, bit for bit, on one machine."""

    draws: int = 1000  # a chain; sampled by quarters, two at least, until the chains agree
    tune: int = 400
    chains: int = 2
    cores: int = 2
    target_accept: float = 0.7
    seed: int = 20260301
    evidence_draws: int = 24  # draws from which evidence and detectability are computed
    probability_draws: int = 400  # draws, spread over the chains, for which states are computed
