"""Whether bodies are compressed, decided from samples alone."""

from __future__ import annotations

from orchestrator.replication.pace import AT_LEAST, LEVEL, RETRY_SAMPLES, SAMPLE_BYTES, Pace

BATCH = 8 << 20


def take(pace: Pace, rate: float, waited: float = 1.0) -> int:
    """A sample at this rate (bytes a second), of which both ends waited for this share."""
    seconds = BATCH / rate
    return pace.sample(BATCH, seconds, waited * seconds, waited * seconds, pace.level)


def suspect(pace: Pace, rate: float) -> list[int]:
    """What as many slow samples as it takes come to."""
    return [take(pace, rate) for _ in range(AT_LEAST)]


def test_a_fast_link_is_never_tried_with_compression() -> None:
    pace = Pace()
    assert [take(pace, 100e6) for _ in range(200)] == [0] * 200


def test_a_slow_link_is_compressed_as_long_as_that_is_faster() -> None:
    pace = Pace()
    assert suspect(pace, 11e6) == [0] * (AT_LEAST - 1) + [LEVEL]
    assert [take(pace, 25e6) for _ in range(50)] == [LEVEL] * 50


def test_compression_that_doesnt_help_ends_and_is_tried_again_later() -> None:
    pace = Pace()
    assert suspect(pace, 11e6)[-1] == LEVEL
    take(pace, 1e6)  # this one still waited for plain bodies
    assert suspect(pace, 9e6) == [LEVEL] * (AT_LEAST - 1) + [0]
    later = [take(pace, 11e6) for _ in range(1 + RETRY_SAMPLES)]
    assert later[:-1] == [0] * RETRY_SAMPLES
    assert later[-1] == LEVEL


def test_a_busy_host_or_disk_isnt_taken_for_a_slow_link() -> None:
    pace = Pace()
    assert [take(pace, 5e6, waited=0.2) for _ in range(100)] == [0] * 100


def test_a_slow_moment_of_a_busy_host_isnt_taken_for_a_slow_link() -> None:
    pace = Pace()
    pattern = [60e6, 60e6, 11e6]
    assert [take(pace, rate, 0.3) for _ in range(20) for rate in pattern] == [0] * 60
    assert Pace().sample(BATCH, 1.0, 1.0, 1.0, 0) == 0


def test_bodies_that_were_sent_before_the_switch_dont_judge_compression() -> None:
    pace = Pace()
    assert suspect(pace, 11e6)[-1] == LEVEL
    assert pace.sample(BATCH, BATCH / 5e6, 0.0, 0.0, 0) == LEVEL
    assert pace.deflated == 0.0


def test_small_batches_say_nothing() -> None:
    pace = Pace()
    assert pace.sample(SAMPLE_BYTES - 1, 100.0, 100.0, 100.0, 0) == 0
    assert pace.sample(BATCH, 0.0, 0.0, 0.0, 0) == 0
    assert pace.plain == 0.0


def test_compression_that_gives_about_the_same_goes_on() -> None:
    pace = Pace()
    assert suspect(pace, 11e6)[-1] == LEVEL
    assert [take(pace, 10.5e6) for _ in range(50)] == [LEVEL] * 50


def test_a_source_that_is_busy_isnt_taken_for_a_slow_link() -> None:
    """A million small messages: the passive place waits, and the source has never to wait."""
    pace = Pace()
    assert [pace.sample(BATCH, 1.0, 0.02, 0.9, 0) for _ in range(100)] == [0] * 100


def test_what_was_under_way_before_the_switch_doesnt_judge_it() -> None:
    pace = Pace()
    assert suspect(pace, 11e6)[-1] == LEVEL
    assert [take(pace, rate) for rate in (1e6, 14e6, 14e6)] == [LEVEL] * 3
