"""BLAS has one thread while a face is made, and the program's own number of them before and after."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from photos import photo
from threadpoolctl import ThreadpoolController

from facecli.blas import one_thread
from facecli.pipeline import Reconstructor


def threads() -> set[int]:
    return {library["num_threads"] for library in ThreadpoolController().select(user_api="blas").info()}


@pytest.fixture
def two() -> Iterator[None]:
    blas = ThreadpoolController().select(user_api="blas")
    if not blas.lib_controllers:
        pytest.skip("NumPy's BLAS is none that threadpoolctl knows")
    before = threads()
    set_for_good(blas, 2)
    if threads() != {2}:
        pytest.skip("NumPy's BLAS knows no more than one thread")
    yield
    set_for_good(blas, before.pop())


def set_for_good(blas: ThreadpoolController, count: int) -> None:
    """As a program's own setting is: afterwards other threads may limit it."""
    blas.limit(limits=count)
    for library in blas.lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


@pytest.mark.usefixtures("two")
def test_products_have_one_thread_inside_and_as_many_as_before_outside() -> None:
    with one_thread():
        assert threads() == {1}
        with one_thread():
            assert threads() == {1}
        assert threads() == {1}, "the outer one is still inside"
    assert threads() == {2}
    with pytest.raises(ValueError, match="so it goes"), one_thread():
        raise ValueError("so it goes")
    assert threads() == {2}


@pytest.mark.usefixtures("two")
def test_threads_that_overlap_leave_as_many_as_before() -> None:
    step = Barrier(2, timeout=30)

    def first() -> None:
        with one_thread():
            step.wait()
            step.wait()  # the other one is inside too
        step.wait()

    def second() -> None:
        step.wait()
        with one_thread():
            assert threads() == {1}
            step.wait()
            step.wait()  # and is the last one there

    with ThreadPoolExecutor(2) as pool:
        for job in [pool.submit(first), pool.submit(second)]:
            job.result()
    assert threads() == {2}


@pytest.mark.usefixtures("two")
def test_a_face_is_made_on_one(reconstructor: Reconstructor, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    assemble = Reconstructor._assemble

    def watched(*args):
        seen.append(threads())
        return assemble(*args)

    monkeypatch.setattr(Reconstructor, "_assemble", watched)
    assert reconstructor.reconstruct(photo("astronaut.jpg"))
    assert seen == [{1}] and threads() == {2}
    monkeypatch.setattr(Reconstructor, "_assemble", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        reconstructor.reconstruct(photo("astronaut.jpg"))
    assert threads() == {2}
