"""Photos in step: whose crops share a batch, in what order they are done, and whose an error is."""

from collections.abc import Iterator

import pytest
from fake_network import FakeNetwork, ask, levels

from facecli.handful import Seen, Steps, in_step


def photo(name: str, begun: list[str], *rounds: tuple[int, ...]) -> Steps[tuple[str, list[list[int]]]]:
    """Asks once a round for crops of these levels -> its name and what was seen."""
    begun.append(name)
    seen = []
    for wanted in rounds:
        seen.append(levels((yield ask(*wanted))))
    return name, seen


def handful(begun: list[str]) -> "Iterator[Steps[tuple[str, list[list[int]]]]]":
    yield photo("one", begun, (1,), (2,))
    yield photo("none", begun)
    yield photo("three", begun, (3, 4, 5))
    yield photo("twice", begun, (6, 7), (8,))


def test_crops_of_all_photos_share_a_batch_and_everyone_gets_its_own_back() -> None:
    network, begun = FakeNetwork(), list[str]()
    results = list(in_step(handful(begun), network, room=1000))
    assert network.batches == [[1, 3, 4, 5, 6, 7], [2, 8]]
    assert results == [
        ("none", []),
        ("three", [[3, 4, 5]]),
        ("one", [[1], [2]]),
        ("twice", [[6, 7], [8]]),
    ]


def test_without_room_each_is_alone_and_none_begins_before_the_last_is_done() -> None:
    network, begun = FakeNetwork(), list[str]()
    names = []
    for name, _ in in_step(handful(begun), network, room=0):
        names.append(name)
        assert begun == names
    assert names == ["one", "none", "three", "twice"]
    assert network.batches == [[1], [2], [3, 4, 5], [6, 7], [8]]


def test_photos_wait_for_each_other_until_the_room_is_full() -> None:
    network, begun = FakeNetwork(), list[str]()
    results = in_step(handful(begun), network, room=200)
    assert next(results)[0] == "none" and begun == ["one", "none"] and network.batches == []
    assert next(results)[0] == "three" and begun == ["one", "none", "three"]
    assert network.batches == [[1, 3, 4, 5]]
    assert [name for name, _ in results] == ["one", "twice"]


def test_time_in_the_network_is_shared_by_crops() -> None:
    def timed(*wanted: int) -> Steps[Seen]:
        return (yield ask(*wanted))

    few, many = in_step([timed(1), timed(2, 3, 4)], FakeNetwork(), room=1000)
    assert (few.gpu_seconds, many.gpu_seconds) == pytest.approx((1, 3))
    assert 0 < few.seconds and many.seconds == pytest.approx(3 * few.seconds)


def test_what_the_network_raises_is_raised_in_all_who_wait_and_each_may_live_on() -> None:
    def wary(name: str) -> Steps[str]:
        try:
            yield ask(1)
        except ZeroDivisionError as error:
            return f"{name}: {error}"
        return name

    def broken() -> None:
        raise ZeroDivisionError("of all things")

    network = FakeNetwork(broken)
    assert list(in_step([wary("a"), wary("b")], network, room=1000)) == [
        "a: of all things",
        "b: of all things",
    ]


def test_what_a_photo_raises_goes_through() -> None:
    def broken() -> Steps[str]:
        yield ask(1)
        raise ZeroDivisionError

    results = in_step([broken(), photo("never", [], (1,))], FakeNetwork(), room=1000)
    with pytest.raises(ZeroDivisionError):
        list(results)
