"""What changed between two publications and why, in sentences made from the evidence."""

import math
from collections.abc import Iterable
from typing import Any

SHOWN = 0.02
"""Change of a probability from which it is worth a sentence."""
WORTH = 0.3
"""Change of a source's log Bayes factor from which it is named as a reason."""
JUMP = 0.2
"""Change of a probability that wants an explanation."""
SENTENCES = 50
WORDS = {
    "exporter": "the exporter's figures",
    "importer": "the importer's figures",
    "other_families": "this importer's other goods",
    "other_destinations": "the other destinations",
    "total_trade": "the pair's total trade",
    "covariates": "tension and other covariates",
}


def changes(
    before: dict[str, dict[str, Any]], after: Iterable[dict[str, Any]], news: dict[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Largest first: ``unit``, ``change`` of p(restricted), null where one of the two abstained, and ``sentence``.

    before, after : answers, by unit and of each unit. news : by unit, the releases that the first of the two publications did not know.
    """
    found, after = [], list(after)
    for row in after:
        was = before.get(row["unit"])
        told = _sentence(was, row, news.get(row["unit"], []))
        if told is None:
            continue
        both = was and was["current"] and row["current"]
        change = round(row["current"]["probability"] - was["current"]["probability"], 6) if was and both else None
        found.append({"unit": row["unit"], "change": change, "sentence": told})
    found += [
        {"unit": unit, "change": None, "sentence": f"{unit} is no longer watched."} for unit in before.keys() - {r["unit"] for r in after}
    ]
    return sorted(found, key=lambda c: (c["change"] is not None, -abs(c["change"] or 0)))[:SENTENCES]


def unexplained(
    before: dict[str, dict[str, Any]], after: Iterable[dict[str, Any]], news: dict[str, list[dict[str, Any]]], covariates: bool
) -> list[tuple[str, float]]:
    """(unit, change) of what moved by :data:`JUMP` or more though neither its importer nor its family has a new figure, nor, where there
    are new `covariates`, these count for it otherwise than before."""
    after = list(after)
    heard = [row for row in after if news.get(row["unit"])]
    told = {row["importer"] for row in heard}, {row["family"] for row in heard}
    found = []
    for row in after:
        was = before.get(row["unit"])
        if was and was["current"] and row["current"] and row["importer"] not in told[0] and row["family"] not in told[1]:
            change = row["current"]["probability"] - was["current"]["probability"]
            told_by_them = covariates and math.copysign(1.0, change) * _counts_more(was, row, "covariates") >= WORTH
            if abs(change) >= JUMP and not told_by_them:
                found.append((row["unit"], change))
    return found


def _counts_more(was: dict[str, Any], row: dict[str, Any], source: str) -> float:
    """Change of a source's log Bayes factor; 0 where it was not worked out."""
    return float((row["evidence"] or {}).get(source, 0.0) - (was["evidence"] or {}).get(source, 0.0))


def lost(before: dict[str, dict[str, Any]], after: Iterable[dict[str, Any]]) -> tuple[float, str]:
    """(share of the units that were answered and are not any more, the first of them)."""
    answered = {row["unit"] for row in after if row["current"]}
    were = [unit for unit, row in before.items() if row["current"]]
    gone = [unit for unit in were if unit not in answered]
    return len(gone) / max(len(were), 1), min(gone, default="")


def _sentence(was: dict[str, Any] | None, row: dict[str, Any], news: list[dict[str, Any]]) -> str | None:
    unit, now = row["unit"], row["current"]
    if was is None or (was["current"] is None and now):
        said = f"{unit} is answered for the first time" if was is None or not was["abstention"] else f"{unit} is answered again"
        return f"{said}: p(restricted) {now['probability']:.2f} in {now['period']}." if now else f"{unit} is new: {row['abstention']}."
    if now is None:
        return f"{unit} is no longer answered: {row['abstention']}." if was["current"] else None
    then = was["current"]
    change = now["probability"] - then["probability"]
    if abs(change) < SHOWN:
        return None
    moved = "rose" if change > 0 else "fell"
    months = f"{then['period']} to {now['period']}" if then["period"] != now["period"] else now["period"]
    text = f"{unit}: p(restricted) {moved} from {then['probability']:.2f} to {now['probability']:.2f} ({months})"
    reasons = _reasons(was, row, 1 if change > 0 else -1)
    return f"{text}{', since ' + ' and '.join(reasons) if reasons else ''}. {_new(news)}"


def _reasons(was: dict[str, Any], row: dict[str, Any], sign: int) -> list[str]:
    """The two sources that moved the log odds most in the direction of the change."""
    if not (was["evidence"] and row["evidence"]):
        return []
    moved = {s: (row["evidence"][s] - was["evidence"].get(s, 0.0)) for s in row["evidence"]}
    first = sorted((s for s in moved if sign * moved[s] >= WORTH), key=lambda s: -sign * moved[s])[:2]
    return [f"{WORDS.get(s, s)} now count {row['evidence'][s]:+.1f} ({was['evidence'].get(s, 0.0):+.1f} before)" for s in first]


def _new(news: list[dict[str, Any]]) -> str:
    if not news:
        return "No new figure of its own stands behind this."
    cells = sorted({f"{r['reporter']} {r['period']}" for r in news})
    shown = ", ".join(cells[-4:])
    return f"New figures: {len(news)} ({'..., ' if len(cells) > 4 else ''}{shown})."
