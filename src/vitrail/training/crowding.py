"""Notices other programs on the cores that a stage trains on: two threads that wait for each other lose most by them."""

from __future__ import annotations

import logging

from vitrail import processor

WINDOW = 10.0  # seconds over which others are watched
SHARE = 0.25  # of the cores, from where on it is worth a word

logger = logging.getLogger(__name__)


class Crowding:
    """Watches one stage, and says once that others are at work beside it."""

    def __init__(self, stage: str, threads: int) -> None:
        self.stage, self.threads, self.told = stage, threads, False
        self.watch, self.next = processor.Watch(), WINDOW

    def look(self, seconds: float) -> None:
        """Called now and then with the stage's seconds; warns where the window that has passed was crowded."""
        if self.told or seconds < self.next:
            return
        others, cores = self.watch.others(), processor.cores()
        self.watch, self.next = processor.Watch(), seconds + WINDOW
        if others < SHARE * cores:
            return
        self.told = True
        logger.warning(
            "other programs use %.1f of %d cores, which makes the %s stage on %d thread%s slower; %s",
            others,
            cores,
            self.stage,
            self.threads,
            "s" * (self.threads > 1),
            "stop them, or set training.threads=1"
            if self.threads > 1
            else "its budget buys less than on a quiet machine",
        )
