"""Nothing, weigh or fit: decided from what the current snapshot says of itself."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest
import xarray as xr
from answers import META, UNITS, filled

from model.spec import Assumptions, Computation
from service.decision import FIT_EVERY, decide, versions
from service.snapshots import SnapshotStore

A, C = Assumptions(), Computation()
FITTED = datetime(2026, 11, 20, 2, tzinfo=UTC)
TONIGHT = FITTED + timedelta(days=1)


def panel(figures, as_of="2026-11-21T00:00:00+00:00", log="newer"):
    return xr.Dataset(attrs={"fingerprint": figures, "as_of": as_of, "log": log})


@pytest.fixture
def published(tmp_path):
    """A function that publishes a snapshot fitted to the figures `known`, but for what else it is given."""

    def publish(**other):
        meta = META | {
            "as_of": "2026-11-20T00:00:00+00:00", "fitted_at": FITTED.isoformat(), "panel_sha256": "known", "log": "known",
            "versions": versions(),
            "assumptions": orjson.loads(A.model_dump_json()), "computation": orjson.loads(C.model_dump_json()),
        }  # fmt: skip
        store = SnapshotStore(tmp_path)
        store.publish(meta | other, UNITS, filled)
        return store

    return publish


def test_what_is_new_decides(published):
    store = published()
    assert decide(store, panel("known"), A, C, now=TONIGHT).kind == "nothing"
    told = decide(store, panel("newer"), A, C, now=TONIGHT)
    assert (told.kind, told.current) == ("weigh", store.current_id())


def test_a_fit_that_is_a_week_old_is_made_anew_only_where_something_is_new(published):
    store = published()
    late = FITTED + FIT_EVERY
    assert decide(store, panel("known"), A, C, now=late).kind == "nothing"
    told = decide(store, panel("newer"), A, C, now=late)
    assert (told.kind, told.why) == ("fit", "the last fit is 7 days old")
    assert told.current == store.current_id(), "whose chains are carried on"


def test_a_month_more_without_a_figure_is_weighed_however_old_the_fit(published):
    told = decide(published(), panel("a month more", log="known"), A, C, now=FITTED + 3 * FIT_EVERY)
    assert (told.kind, told.why) == ("weigh", "there is a new month")


def test_the_age_of_weighed_draws_is_that_of_their_fit(published):
    fit = {"snapshot": "an earlier one", "as_of": "2026-11-10T00:00:00+00:00", "fitted_at": (FITTED - FIT_EVERY).isoformat(), "checks": []}
    assert decide(published(fit=fit), panel("newer"), A, C, now=TONIGHT).why == "the last fit is 8 days old"


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"assumptions": A.model_copy(update={"unevenness": 0.4}).model_dump()}, "assumptions"),
        ({"computation": C.model_copy(update={"draws": 500}).model_dump()}, "computation"),
        ({"versions": versions() | {"pymc": "6.3.0"}}, "versions"),
    ],
)
def test_what_was_made_otherwise_is_fitted_anew_and_the_reason_is_named(published, other, named):
    told = decide(published(**other), panel("known"), A, C, now=TONIGHT)
    assert (told.kind, told.why) == ("fit", f"the current snapshot was made with other {named}")


def test_a_fit_that_took_twice_the_draws_to_pass_is_no_other_model(published):
    twice = C.model_copy(update={"draws": 2 * C.draws, "seed": 7}).model_dump()
    assert decide(published(computation=twice), panel("known"), A, C, now=TONIGHT).kind == "nothing"


def test_another_seed_and_a_newly_measured_size_of_revisions_are_no_other_model(published):
    store = published(computation=C.model_copy(update={"seed": 7}).model_dump())
    assert decide(store, panel("known"), A.model_copy(update={"preliminary": 0.07}), C, now=TONIGHT).kind == "nothing"


def test_draws_that_know_later_figures_are_not_weighed_for_an_earlier_day(published):
    assert decide(published(), panel("earlier", "2020-03-26T00:00:00+00:00"), A, C, now=TONIGHT).kind == "fit"


def test_where_nothing_is_published_or_cannot_be_read_all_is_fitted(published, tmp_path):
    assert decide(SnapshotStore(tmp_path / "empty"), panel("newer"), A, C, now=TONIGHT).why == "nothing has been published yet"
    store = published()
    manifest = tmp_path / "snapshots" / store.current_id() / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"known", b"other"))
    assert decide(store, panel("newer"), A, C, now=TONIGHT).why.startswith("what is current cannot be read")


def test_a_fit_let_pass_by_hand_is_not_the_base_of_what_nobody_looks_at(published):
    asking = [{"name": "divergences", "outcome": "REVIEW"}, {"name": "unexplained_jumps", "outcome": "REVIEW"}]
    store = published(checks=asking)
    assert decide(store, panel("newer"), A, C, now=TONIGHT).why == "the last fit was published with divergences in review"
    assert decide(store, panel("newer"), A, C, accept_review=True, now=TONIGHT).kind == "weigh"
    assert decide(published(checks=asking[1:]), panel("newer"), A, C, now=TONIGHT).kind == "weigh"


def test_what_is_current_and_damaged_is_made_anew_though_nothing_is_new(published, tmp_path):
    store = published()
    answers = tmp_path / "snapshots" / store.current_id() / "answers.json"
    answers.write_bytes(answers.read_bytes().replace(b"0.9", b"0.1"))
    told = decide(store, panel("known"), A, C, now=TONIGHT)
    assert (told.kind, "answers.json: its content is not what the manifest says" in told.why) == ("fit", True)


def test_shards_that_were_left_out_are_tried_again_on_the_same_figures(published):
    left_out = [{"name": "shards_left_out", "value": 0.05, "outcome": "REVIEW"}]
    assert decide(published(checks=left_out), panel("known"), A, C, now=TONIGHT).kind == "weigh"
    none = [{"name": "shards_left_out", "value": 0.0, "outcome": "PASS"}]
    assert decide(published(checks=none), panel("known"), A, C, now=TONIGHT).kind == "nothing"


def test_a_fit_of_a_time_that_the_clock_has_not_reached_is_made_anew(published):
    ahead = published(fitted_at=(TONIGHT + timedelta(days=300)).isoformat())
    assert "clock has not reached" in decide(ahead, panel("newer"), A, C, now=TONIGHT).why
    assert decide(published(fitted_at=(TONIGHT + timedelta(minutes=1)).isoformat()), panel("newer"), A, C, now=TONIGHT).kind == "weigh"
