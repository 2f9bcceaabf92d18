import os
import signal
import threading

import pytest

from facecli.interrupt import Interrupt


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_once_is_noted_and_twice_stops(number: int, code: int, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        assert not interrupt.wanted
        os.kill(os.getpid(), number)
        assert interrupt.wanted and interrupt.exit_code == code
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err == "\nfinishing the photos that have begun; once more stops at once\n"


def test_quiet_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with Interrupt(quiet=True) as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
    assert interrupt.wanted and capfd.readouterr().err == ""


def test_in_another_thread_it_hears_nothing_and_breaks_nothing() -> None:
    heard = []

    def work() -> None:
        with Interrupt() as interrupt:
            heard.append(interrupt.wanted)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert heard == [False]
