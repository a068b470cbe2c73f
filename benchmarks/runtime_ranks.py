"""Whether torch's eager mode ranks networks by latency as the runtimes do that people ship.

Random subnets of several families are timed in each runtime, as `objective=latency` times them, in one thread and one
image at a time. Spearman's rank correlation of torch's latencies with those of each runtime tells how far a search by
torch's latency is one by the runtime's. What is timed twice tells how far a runtime agrees with itself here. Values are
kept in a file, and another command goes on where one was stopped.

    python benchmarks/runtime_ranks.py --runtimes torch onnxruntime openvino openvino:bf16
    python benchmarks/runtime_ranks.py --runtimes executorch litert --families nano --count 20
    python benchmarks/runtime_ranks.py --table
"""

import argparse
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from preparation import CPU, FAMILIES, Family, condition, family
from scipy.stats import spearmanr

from evonas import files
from evonas.errors import UserError
from evonas.objectives.latency.benchmark import NOMINAL, Plan, measure_again
from evonas.objectives.latency.cpu_affinity import pinned
from evonas.objectives.latency.reference_timing import counting_preemptions, with_reference
from evonas.runtimes.base import Prepared, Runtime
from evonas.runtimes.choice import RUNTIMES, resolved
from evonas.space.genotype import Genotype
from evonas.supernets.supernet import extract

ANSWERS = Path(__file__).parent / "answers" / "runtime_ranks.json"
_PLAN = Plan(warmup=3, warmup_seconds=0.3, seconds=0.1, max_seconds=0.3)
_AGAIN = " again"


def main() -> None:
    """Time what is not timed yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    known = ", ".join(RUNTIMES)
    parser.add_argument("--runtimes", nargs="+", default=["torch"], help=f"{known}; or <name>:<precision>")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES))
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--again", action="store_true", help="time them a second time")
    parser.add_argument("--table", action="store_true", help="print the table alone")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = files.read_json(ANSWERS) if ANSWERS.exists() else {}
    for text in () if given.table else given.runtimes:
        name, _, precision = text.partition(":")
        try:
            runtime = resolved(RUNTIMES[name](precision=precision or "fp32"), CPU)
        except UserError as error:
            print(f"{text}: {error.message}", flush=True)
            continue
        for each in given.families:
            times = found.setdefault(each, {}).setdefault(text + (_AGAIN if given.again else ""), {})
            found.setdefault("versions", {})[name] = runtime.version()
            _time(family(each, given.count), runtime, times, found)
    _print(found)


def _time(each: Family, runtime: Runtime, times: dict[str, float], found: dict[str, Any]) -> None:
    """Time the subnets that have no time yet; the file is written after each."""
    space = each.net.space
    left = [genotype for genotype in each.drawn if space.format(genotype) not in times]
    if not left:
        return
    print(
        f"{each.name} in {runtime.name} {runtime.precision}: {len(left)} subnets, {condition()}", flush=True
    )
    with closing(_prepared(each, runtime, space.smallest())) as smallest:
        beside = counting_preemptions(smallest.once)
        nominal = measure_again(beside, NOMINAL).fastest
        for genotype in left:
            with closing(_prepared(each, runtime, genotype)) as prepared, pinned(1):
                timing = measure_again(
                    with_reference(counting_preemptions(prepared.once), beside, nominal), _PLAN
                )
            if timing.doubt:
                print(f"left out, because {timing.doubt}", flush=True)
                continue
            times[space.format(genotype)] = timing.median
            ANSWERS.parent.mkdir(exist_ok=True)
            files.write_json(ANSWERS, found)


def _prepared(each: Family, runtime: Runtime, genotype: Genotype) -> Prepared:
    return runtime.prepare(extract(each.net, genotype).eval().requires_grad_(False), each.image)


def _print(found: dict[str, Any]) -> None:
    families = [name for name in found if name != "versions"]
    names = list(dict.fromkeys(runtime for name in families for runtime in found[name]))
    print(
        "\n| " + " | ".join(["runtime", "version", *families]) + " |\n" + "|---" * (len(families) + 2) + "|"
    )
    for runtime in names:
        cells = [_cell(found[name], runtime) for name in families]
        version = found["versions"].get(runtime.partition(":")[0].removesuffix(_AGAIN), "")
        print("| " + " | ".join([runtime, version, *cells]) + " |")


def _cell(times: dict[str, dict[str, float]], runtime: str) -> str:
    """Rank correlation, number of subnets, and the median latency beside torch's."""
    # a second time is compared with the first one
    base = times.get(runtime.removesuffix(_AGAIN) if runtime.endswith(_AGAIN) else "torch", {})
    both = sorted(base.keys() & times.get(runtime, {}).keys())
    if runtime == "torch" or len(both) < 3:
        return "-"
    pairs = [(base[each], times[runtime][each]) for each in both]
    ratio = sorted(mine / other for other, mine in pairs)[len(pairs) // 2]
    rho = spearmanr(*zip(*pairs, strict=True)).statistic
    return f"{rho:.3f} ({len(both)}), times x {ratio:.2f}"


if __name__ == "__main__":
    main()
