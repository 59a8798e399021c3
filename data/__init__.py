"""Facts, and when they became known: customs releases -> log -> as-of panel.

The two clocks, on one cell (CHN reports exports of 850511 to JPN for 2024-02):

    period       |-- Feb --|
    released_at            .    .  20 Mar (first figure)   .   18 Jun (revision)
                 ----------+-------+-----------------------+----------------> time
    as-of 1 Mar: unknown   |
    as-of 1 Apr:                   first figure
    as-of 1 Jul:                                           revision

``period`` is the month a figure is about; ``released_at`` is when anyone could first know it. An
as-of read returns, per cell, the last release with ``released_at <= as_of`` and nothing else.
"""
