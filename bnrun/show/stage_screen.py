"""What work beside training looks like while it is done: one bar, through its stages."""

from bnrun.events import Stage
from bnrun.show.progress import LineScreen, LiveScreen


class StageBar(LiveScreen):
    """A bar on a terminal that names the stage."""

    def _take(self, event: object) -> None:
        match event:
            case Stage():
                self._bar("stage", "", event.name, total=event.total)
                self._update("stage", completed=event.done, total=event.total)
            case _:
                super()._take(event)


class StageLines(LineScreen):
    """No line for a stage: they are many, and soon over."""
