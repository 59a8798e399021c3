"""Progress of long work, on stderr."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

COLUMNS = (SpinnerColumn(), TextColumn("{task.description:<34}"), BarColumn(24))


@contextmanager
def counted(console: Console, what: str) -> Iterator[Callable[[int, int, str], None]]:
    """A bar; the yielded function is told (done, of all, what happened)."""
    with Progress(*COLUMNS, MofNCompleteColumn(), TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task(what, total=None)

        def told(done: int, total: int, what_happened: str) -> None:
            progress.update(task, completed=done, total=total)
            if what_happened:
                progress.console.print(what_happened, highlight=False)

        yield told
