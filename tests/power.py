"""A disk whose power fails: what is written to a folder is recorded, and what may be found there afterwards is made from the record.

What was not synced may be there or not, each name of a folder and each file by itself: a file whole, cut short, or as long as it was and
empty of content; a new name without its content, or the old one still. Only fsync is believed, of the file for its content and
of the folder for its names. ext4 and XFS promise more; a store that survives this survives them.
"""

import os
from contextlib import contextmanager
from random import Random

CALLS = ("rename", "replace", "mkdir", "unlink", "remove", "rmdir")


class Disk:
    """moments : (what is synced, what is there) after each call that changes names, and before and after each fsync.

    Either is a map from a file or folder, by a number of its own, to its bytes or to its names and their numbers; 0 is the root's.
    """

    def __init__(self, root):
        self.root, self._known, self._number, self._next = root, set(), {}, 0
        self.there = self._look()
        self.synced, self.moments = dict(self.there), []

    def _look(self):
        seen, found = set(), {}

        def number(path):
            inode = path.stat().st_ino
            if inode not in self._known:  # new, or one whose number was another's before
                self._number[inode], self._next = self._next, self._next + 1
            seen.add(inode)
            return self._number[inode]

        def visit(path):
            n = number(path)
            if path.is_dir():
                found[n] = {inside.name: visit(inside) for inside in sorted(path.iterdir())}
            else:
                found[n] = path.read_bytes()
            return n

        visit(self.root)
        self._known = seen
        return found

    def _moment(self):
        self.there = self._look()
        self.moments.append((dict(self.synced), self.there))

    @contextmanager
    def recorded(self, monkeypatch, believed=True):
        """Everything that is written in this context, by Python. believed : whether the disk does what fsync asks of it."""
        originals = {name: getattr(os, name) for name in CALLS}
        sync = os.fsync

        def then_look(name):
            def call(*args, **kwargs):
                try:
                    return originals[name](*args, **kwargs)
                finally:
                    self._moment()

            return call

        def fsync(handle):
            self._moment()
            sync(handle)
            n = self._number.get(os.fstat(handle).st_ino)
            if believed and n in self.there:
                self.synced[n] = self.there[n]
            self._moment()

        with monkeypatch.context() as patched:
            for name in CALLS:
                patched.setattr(os, name, then_look(name))
            patched.setattr(os, "fsync", fsync)
            yield self

    def after_a_cut(self, moment, rng, to):
        """Write to the empty folder `to` what may be found when the power failed at a moment. rng : None for that nothing unsynced is."""
        synced, there = self.moments[moment]
        luck = 0.0 if rng is None else rng.choice((0.0, 0.2, 0.5, 0.8, 1.0))

        def content(n):
            if n not in there or (n in synced and synced[n] == there[n]):
                return synced.get(n, b"")
            if rng is None or rng.random() >= luck:
                return synced.get(n, b"")
            whole = there[n]
            return rng.choice((whole, whole, whole[: rng.randint(0, len(whole))], b"\0" * len(whole)))

        def names(n):
            old, new = synced.get(n, {}), there.get(n, {})
            for name in sorted({*old, *new}):
                chosen = old if old.get(name) == new.get(name) or rng is None or rng.random() >= luck else new
                if name in chosen:
                    yield name, chosen[name]

        def is_folder(n):
            return isinstance(there.get(n, synced.get(n)), dict)

        def write(n, at):
            if is_folder(n):
                at.mkdir(exist_ok=True)
                for name, inside in names(n):
                    write(inside, at / name)
            else:
                at.write_bytes(content(n))

        write(0, to)


def cuts(disk, each, seed):
    """(moment, generator) of `each` cuts at every moment; the last moment's first without anything unsynced."""
    rng = Random(seed)
    last = len(disk.moments) - 1
    return [(last, None)] + [(moment, rng) for moment in range(last + 1) for _ in range(each)]
