"""What changed since the last publication, in sentences that the evidence makes."""

from answers import month, unit

from model.checks import jump_check, lost_check
from service.changes import changes, lost, unexplained


def rated(importer, probability, evidence=None, **more):
    return unit(importer, probability) | ({"evidence": evidence} if evidence else {}) | more


def told(before, after, news=None):
    return changes({r["unit"]: r for r in before}, after, news or {})


def test_a_rise_is_told_with_what_speaks_for_it_and_the_figures_that_are_new():
    before = rated("JPN", 0.12, {"exporter": 0.2, "importer": 0.1, "total_trade": 0.0})
    after = rated("JPN", 0.83, {"exporter": 2.3, "importer": 1.0, "total_trade": -0.4})
    new = {"reporter": "CHN", "period": "2026-09"}
    assert told([before], [after], {after["unit"]: [new]}) == [
        {
            "unit": "CHN.JPN.magnets",
            "change": 0.71,
            "sentence": "CHN.JPN.magnets: p(restricted) rose from 0.12 to 0.83 (2026-09), since the exporter's figures now count +2.3 "
            "(+0.2 before) and the importer's figures now count +1.0 (+0.1 before). New figures: 1 (CHN 2026-09).",
        }
    ]


def test_a_fall_without_a_new_figure_says_that_none_explains_it():
    before, after = rated("JPN", 0.8, {"exporter": 1.0}), rated("JPN", 0.5, {"exporter": 0.9})
    [one] = told([before], [after])
    assert one["sentence"].startswith("CHN.JPN.magnets: p(restricted) fell from 0.80 to 0.50 (2026-09). No new figure of its own")


def test_what_did_not_move_is_not_told_and_the_largest_change_comes_first():
    before = [rated("JPN", 0.5), rated("USA", 0.1), rated("KOR", 0.3)]
    after = [rated("JPN", 0.51), rated("USA", 0.2), rated("KOR", 0.1)]
    assert [c["unit"] for c in told(before, after)] == ["CHN.KOR.magnets", "CHN.USA.magnets"]


def test_a_new_month_is_named_with_the_old_one():
    after = rated("JPN", 0.9, current=month(0.9, period="2026-10"))
    assert "(2026-09 to 2026-10)" in told([rated("JPN", 0.5)], [after])[0]["sentence"]


def test_units_that_come_fall_silent_speak_again_and_go_are_told_first():
    before = [rated("USA", 0.4), rated("KOR", None), rated("DEU", 0.2), rated("JPN", 0.1)]
    after = [rated("USA", None), rated("KOR", 0.3), rated("ITA", 0.6), rated("TWN", None), rated("JPN", 0.9)]
    sentences = [c["sentence"] for c in told(before, after)]
    assert sentences[-1].startswith("CHN.JPN.magnets: p(restricted) rose")
    assert set(sentences[:-1]) == {
        "CHN.USA.magnets is no longer answered: no figure known.",
        "CHN.KOR.magnets is answered again: p(restricted) 0.30 in 2026-09.",
        "CHN.ITA.magnets is answered for the first time: p(restricted) 0.60 in 2026-09.",
        "CHN.TWN.magnets is new: no figure known.",
        "CHN.DEU.magnets is no longer watched.",
    }


def test_a_leap_that_no_figure_of_its_importer_or_family_explains_wants_a_look():
    before = {r["unit"]: r for r in (rated("JPN", 0.1), rated("USA", 0.1), unit("KOR", 0.1, "tea"))}
    after = [rated("JPN", 0.6), rated("USA", 0.15), unit("KOR", 0.9, "tea")]
    [magnets, tea] = unexplained(before, after, {}, False)
    assert (magnets[0], round(magnets[1], 6), tea[0]) == ("CHN.JPN.magnets", 0.5, "CHN.KOR.tea")
    heard = {"CHN.USA.magnets": [{"reporter": "CHN", "period": "2026-09"}]}
    assert [u for u, _ in unexplained(before, after, heard, False)] == ["CHN.KOR.tea"], (
        "another destination's figure explains a family's leap"
    )
    assert (jump_check([]).outcome, jump_check([tea]).outcome, jump_check([tea]).worst) == ("PASS", "REVIEW", "CHN.KOR.tea: +0.80")


def test_answers_that_fall_silent_all_at_once_want_a_look():
    before = {r["unit"]: r for r in (rated("JPN", 0.1), rated("USA", 0.1), rated("KOR", None), unit("KOR", 0.1, "tea"))}
    assert lost(before, [rated("JPN", 0.5), rated("USA", 0.1), unit("KOR", 0.2, "tea")]) == (0.0, "")
    share, first = lost(before, [rated("JPN", None), unit("KOR", 0.2, "tea")])
    assert (round(share, 3), first) == (0.667, "CHN.JPN.magnets")
    assert (lost_check(share, first).outcome, lost_check(0.05, first).outcome) == ("REVIEW", "PASS")
    assert lost({}, []) == (0.0, "")


def test_new_covariates_explain_a_leap_where_they_count_for_it():
    before = {r["unit"]: r for r in (rated("JPN", 0.1), rated("USA", 0.1))}
    after = [rated("JPN", 0.6), rated("USA", 0.6)]
    for row, counts in zip((*before.values(), *after), (0.1, 0.1, 1.6, 0.1), strict=True):
        row["evidence"] = {"exporter": 0.0, "covariates": counts}
    assert [unit for unit, _ in unexplained(before, after, {}, True)] == ["CHN.USA.magnets"]
    assert [unit for unit, _ in unexplained(before, after, {}, False)] == ["CHN.JPN.magnets", "CHN.USA.magnets"]
