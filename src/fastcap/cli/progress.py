"""The progress bar of the verbs that caption many pictures."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

__all__ = ["continuing", "progress_bar"]


@contextlib.contextmanager
def progress_bar(total: int, completed: int = 0) -> Iterator[Callable[[], object]]:
    """A bar with rate and remaining time on stderr, if that is a terminal; yields what advances it."""
    if not sys.stderr.isatty():  # a disabled bar of rich 13.0 prints an empty line
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.1f}/s")

    columns = BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, redirect_stdout=False) as progress:
        task = progress.add_task("", total=total, completed=completed)
        yield lambda: progress.advance(task)


@contextlib.contextmanager
def continuing() -> Iterator[None]:
    """Says of an interrupted block that nothing of it is lost."""
    try:
        yield
    except KeyboardInterrupt:
        print("fastcap: interrupted; the same command continues", file=sys.stderr)
        raise
