"""Wall time of one photo by stage."""

import time


class Clock:
    """`clock.mark("decode")`: what has passed since the last mark was spent on decoding."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = self._stopped = time.perf_counter()

    def mark(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now

    def stop(self) -> None:
        """From now on other photos have their turn."""
        self._stopped = time.perf_counter()

    def resume(self, ours: float) -> None:
        """Of the seconds since stop(), only these were this photo's."""
        self._last += time.perf_counter() - self._stopped - ours

    def move(self, stage: str, seconds: float) -> None:
        """Seconds since the last mark that are a stage of their own, whatever the next mark names."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        self._last += seconds

    def shared(self, faces: int) -> dict[str, float]:
        """One face's share of what was done for all faces of the photo."""
        return {stage: seconds / max(faces, 1) for stage, seconds in self.seconds.items()}

    def total(self) -> float:
        """All stages, and what has passed since the last mark."""
        return sum(self.seconds.values()) + time.perf_counter() - self._last
