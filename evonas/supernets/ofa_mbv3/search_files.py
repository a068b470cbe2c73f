"""Files of a search with NSGANetV2: `iter_<t>.stats` with its archive, and `net_<i>.stats` with a network's results.

All are JSON. An entry of an archive is a network as in `net.subnet`, its error in percent, and a second objective to be
minimised, which the file does not name: millions of parameters, millions of multiply-adds, or milliseconds. A network
whose evaluation failed stands there with error 100 and 1000.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evonas.errors import DataError
from evonas.space.space import Space
from evonas.supernets.base import PublishedNetwork, PublishedSearch
from evonas.supernets.ofa_mbv3.formats import read_subnet, write_subnet

# their name of a second objective -> ours, and one of theirs in our unit
SECOND: Mapping[str, tuple[str, float]] = {
    "flops": ("macs", 1e-3),
    "params": ("params", 1.0),
    "cpu": ("latency", 1.0),
}
# our name of a second objective that is not known
UNKNOWN = "second"
# an entry of ours beside theirs, so that the second objective is known
_NAME = "second_objective"
_FAILED = (100.0, 1000.0)
# results are rounded to two decimals in `net_<i>.stats`
_ROUNDING = 0.0051


def read_search(
    space: Space, found: Mapping[str, Any], others: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]] = ()
) -> PublishedSearch:
    """The networks and results of an `iter_<t>.stats` file, without those that failed.

    Args:
        space: of `ofa_space`.
        found: the JSON data.
        others: `net_<i>.subnet` and `net_<i>.stats` of networks of the same search, from which the second objective is
            known if the file does not name it.

    Raises:
        DataError: an entry is malformed.
        UserError: a network is not one of the space.
    """
    entries = found.get("archive")
    if not isinstance(entries, list):
        raise DataError(
            "This is not the content of an iter_<t>.stats file: it has no archive.",
            'It looks like {"archive": [[{"ks": [...], "e": [...], "d": [...], "r": 224}, 20.1, 225.3], ...]}.',
        )
    rows: list[tuple[Mapping[str, Any], float, float]] = []
    for number, entry in enumerate(entries):
        parts: Sequence[Any] = entry if isinstance(entry, list) and len(entry) == 3 else (None,) * 3
        config, error, second = parts
        if not isinstance(config, Mapping) or not _is_share(error) or not _is_number(second) or second < 0:
            raise DataError(
                f"Entry {number} of the archive is {entry!r:.80}.",
                "An entry is a network, its error in percent, and a second objective that is not negative.",
            )
        if (error, second) != _FAILED:
            rows.append((config, float(error), float(second)))
    name, factor = _second(space, found.get(_NAME), rows, others)
    networks = tuple(_network(space, config) for config, _, _ in rows)
    return PublishedSearch(
        ("error", name), networks, tuple((error / 100, second * factor) for _, error, second in rows)
    )


def read_networks(
    space: Space, found: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]
) -> PublishedSearch:
    """The same from the files of single networks, of a search that wrote no `iter_<t>.stats`.

    Args:
        space: of `ofa_space`.
        found: the JSON data of `net_<i>.subnet` and `net_<i>.stats` of each network.

    Raises:
        DataError, UserError: as `read_search`.
    """
    known = [key for key in SECOND if found and all(_is_number(stats.get(key)) for _, stats in found)]
    rows = []
    for _, stats in found:
        if not _is_share(stats.get("top1")):
            raise DataError(
                f"A net_<i>.stats file has top1={stats.get('top1')!r:.40}.", "It is a percentage."
            )
        second = [float(stats[key]) * SECOND[key][1] for key in known]
        rows.append(((100 - float(stats["top1"])) / 100, *second))
    names = ("error", *(SECOND[key][0] for key in known))
    return PublishedSearch(names, tuple(_network(space, config) for config, _ in found), tuple(rows))


def write_search(space: Space, search: PublishedSearch, last: int, initial: int) -> dict[str, Any] | None:
    """The content of an `iter_<t>.stats` file; `read_search` reads it.

    Args:
        space: of `ofa_space`.
        search: the evaluated networks in order; `error` and the first objective that their files know are written.
        last: how many of them are of the last batch.
        initial: how many are of the first batch, whose worst values are the reference point of `hv`.

    Returns:
        None where the search has no such objectives or networks.
    """
    theirs = {ours: (key, factor) for key, (ours, factor) in SECOND.items()}
    second = next((name for name in search.names if name in theirs), None)
    if "error" not in search.names or second is None or not search.networks:
        return None
    key, factor = theirs[second]
    at = search.names.index("error"), search.names.index(second)
    pairs = [(100 * values[at[0]], values[at[1]] / factor) for values in search.values]
    archive = [
        [write_subnet(space, space.parse(network.genotype)), *pair]
        for network, pair in zip(search.networks, pairs, strict=True)
    ]
    worst = [1.01 * max(column) for column in zip(*(pairs[:initial] or pairs), strict=True)]
    return {
        "archive": archive,
        "candidates": archive[len(archive) - last :],
        "hv": _hypervolume(pairs, worst),
        _NAME: key,
    }


def _hypervolume(pairs: Iterable[tuple[float, float]], worst: Sequence[float]) -> float:
    """The area that points dominate, divided by that of the box from zero to `worst`."""
    area, low = 0.0, worst[1]
    for one, two in sorted(pairs):
        if one < worst[0] and two < low:
            area, low = area + (worst[0] - one) * (low - two), two
    whole = worst[0] * worst[1]
    return area / whole if whole else 0.0


def _network(space: Space, config: Mapping[str, Any]) -> PublishedNetwork:
    genotype, width = read_subnet(space, config)
    return PublishedNetwork(space.format(genotype), {} if width is None else {"width": width})


def _second(
    space: Space,
    named: Any,
    rows: Sequence[tuple[Mapping[str, Any], float, float]],
    others: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
) -> tuple[str, float]:
    """Our name of the second objective, and one of theirs in our unit."""
    if isinstance(named, str) and named in SECOND:
        return SECOND[named]
    known = {_network(space, config).genotype: stats for config, stats in others}
    pairs = [
        (known[text], second)
        for config, _, second in rows
        if known and (text := _network(space, config).genotype) in known
    ]
    for key, found in SECOND.items():
        if pairs and all(
            _is_number(stats.get(key)) and abs(float(stats[key]) - second) <= _ROUNDING
            for stats, second in pairs
        ):
            return found
    return UNKNOWN, 1.0


def _is_share(value: Any) -> bool:
    """Whether it is a percentage."""
    return _is_number(value) and 0 <= value <= 100


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
