"""Jobs made at the same moment share a partition; over some moments all partitions get as many."""

from collections import Counter

from services.api.turns import TURN_S, Turns


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self):
        self.now_s = 1_000.0

    def monotonic(self):
        return self.now_s


def _turns(partitions=4, first=0):
    clock = HandClock()
    return Turns(partitions, first=first, clock=clock), clock


def test_jobs_made_at_the_same_moment_share_a_partition():
    turns, clock = _turns()
    first = turns.present()
    clock.now_s += TURN_S * 0.9
    assert turns.present() == first
    clock.now_s += TURN_S * 0.2
    assert turns.present() != first


def test_all_partitions_get_as_many_of_a_steady_stream():
    turns, clock = _turns()
    met = Counter()
    for _ in range(4_000):
        met[turns.present()] += 1
        clock.now_s += 0.001
    assert sorted(met) == [0, 1, 2, 3]
    assert max(met.values()) - min(met.values()) <= TURN_S / 0.001 + 1


def test_all_partitions_get_as_many_of_jobs_that_come_one_by_one():
    turns, clock = _turns()
    met = []
    for _ in range(8):
        met.append(turns.present())
        clock.now_s += 60
    assert met == [0, 1, 2, 3, 0, 1, 2, 3]


def test_replicas_that_draw_another_number_begin_elsewhere():
    assert [_turns(first=number)[0].present() for number in (0, 1, 6, 2**80 + 3)] == [0, 1, 2, 3]


def test_one_partition_has_every_turn():
    turns, clock = _turns(partitions=1, first=2**80)
    assert turns.present() == 0
    clock.now_s += 60
    assert turns.present() == 0
