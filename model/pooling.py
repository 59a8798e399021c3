r"""What some shards of a panel say of the parameters that all share, made the prior of the others.

Of a population parameter :math:`\phi` (on the scale on which its prior is normal) shard s says :math:`N(m_s, v_s)` under the prior
:math:`N(\mu_0, \sigma_0^2)`, so its figures alone say :math:`N(y_s, w_s)` with :math:`1/w_s = 1/v_s - 1/\sigma_0^2`. Shards differ:
:math:`y_s \sim N(\mu, w_s + \tau^2)`, with :math:`\tau^2` by moments (DerSimonian & Laird 1986, Controlled Clinical Trials 7, 177-188).
The prior of a shard that was not among them is the prediction, :math:`N(\hat\mu, \mathrm{var}(\hat\mu) + \tau^2)`, never wider than
the prior was, and no narrower than a quarter of it. A shard whose figures are silent on a parameter adds nothing to it, and one shard
alone is no sample. Rates (Beta priors) stay as they are: one shard has few events.
"""

from collections.abc import Sequence

import numpy as np

from model.spec import Assumptions

NORMAL = (
    "campaign", "entry_join", "entry_late", "entry_lone", "product_wide", "control_effect", "noise", "residual", "residual_family",
    "hurdle",
)  # fmt: skip
"""Assumptions that are (location, scale) of a normal parameter of the same name."""
LOG_NORMAL = {
    "drift_family": "drift_family", "drift": "drift", "season": "season_sd", "noise_spread": "noise_spread", "noise_family": "noise_family",
    "reporter_bias": "bias_spread", "hurdle_spread": "hurdle_spread", "hurdle_slope": "hurdle_slope",
}  # fmt: skip
"""Those that are of the logarithm of a parameter, and its name."""


LEAST = 0.25
"""Share of its scale that a prior keeps at least: a few shards that agree cannot say that all do."""


def pooled(a: Assumptions, shards: Sequence[dict[str, np.ndarray]]) -> Assumptions:
    """shards : {free variable: (sample, ...)} of each."""
    names = {name: (name, False) for name in NORMAL} | {name: (parameter, True) for name, parameter in LOG_NORMAL.items()}
    told = {}
    for name, (parameter, log) in names.items():
        draws = [np.ravel(s[parameter]) for s in shards if parameter in s]
        if draws:
            told[name] = _predicted(getattr(a, name), [np.log(d) if log else d for d in draws])
    return a.model_copy(update=told)


def _predicted(prior: tuple[float, float], draws: list[np.ndarray]) -> tuple[float, float]:
    """(location, scale) for a shard that was not among those the draws are of."""
    location, scale = prior
    precision = np.array([max(1 / d.var() - 1 / scale**2, 0.0) for d in draws])
    says = precision > 0.05 / scale**2
    if says.sum() < 2:
        return prior
    means, variances = np.array([d.mean() for d in draws])[says], np.array([d.var() for d in draws])[says]
    weight = precision[says]
    alone = (means / variances - location / scale**2) / weight
    # The prior is one more shard, which all agree on.
    middle = (weight @ alone + location / scale**2) / (weight.sum() + 1 / scale**2)
    spread = weight @ (alone - middle) ** 2 - (len(alone) - 1)
    between = max(0.0, spread / max(weight.sum() - weight @ weight / weight.sum(), 1e-12))
    weight = 1 / (1 / weight + between)
    total = weight.sum() + 1 / scale**2
    middle = (weight @ alone + location / scale**2) / total
    return float(middle), float(np.clip(np.sqrt(1 / total + between), LEAST * scale, scale))
