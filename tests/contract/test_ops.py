"""What every backend of every primitive must hold, against the reference."""

from types import SimpleNamespace

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from evonas.ops import backend, causal_ssd, dct, depthwise_silu, dilated, native, scan, splat, ssd


def _draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


def _ssd_operands(tokens=15, width=6, states=4):
    shapes = [(2, tokens, 2, width), (2, tokens, 2), (2, tokens, states), (2, tokens, states), (2,)]
    return tuple(_draw(*shape) for shape in shapes)


def _causal_operands(tokens=15, width=6, states=4):
    x, steps, b, c, d = _ssd_operands(tokens, width, states)
    # a state adds up many tokens: with smaller ones gradients stay in the tens
    return x, 0.2 * steps.abs(), -_draw(2).abs(), 0.5 * b, 0.5 * c.flip(-1), d


def _scan_operands(tokens=15, channels=5):
    x, steps, rate = _draw(2, tokens, channels), _draw(2, tokens, channels).abs(), -_draw(channels).abs()
    return x, steps, rate, _draw(2, tokens)


def _dilated_operands(height=9, width=7, channels=3):
    return _draw(2, channels, height, width), _draw(3, channels, 3, 3), _draw(3)


def _local_operands(height=9, width=7, channels=3):
    return _draw(2, height, width, channels), _draw(channels, 1, 3, 3), _draw(channels)


def _splat_operands(number=40):
    """Gaussians before a camera, some of them behind it or beside its view."""
    means, quats, scales = _draw(number, 3), _draw(number, 4), 0.3 * _draw(number, 3).abs() + 0.02
    view, intrinsics = torch.eye(4), torch.tensor([[12.0, 0, 9], [0, 12, 7], [0, 0, 1]])
    view[2, 3] = 1.5
    operands = means, quats, scales, _draw(number).sigmoid(), _draw(number, 2), view, intrinsics
    # gradients of what is close to the camera are large, and so is their rounding
    return tuple(operand.double() for operand in operands)


def _splat(*operands):
    return splat.splat(*operands, height=14, width=19)


PRIMITIVES = {
    "ssd": (ssd.IMPLEMENTATIONS, ssd.ssd, _ssd_operands()),
    "ssd whole vectors": (ssd.IMPLEMENTATIONS, ssd.ssd, _ssd_operands(tokens=130, width=16, states=13)),
    "ssd one token": (ssd.IMPLEMENTATIONS, ssd.ssd, _ssd_operands(tokens=1)),
    "causal_ssd": (causal_ssd.IMPLEMENTATIONS, causal_ssd.causal_ssd, _causal_operands()),
    "causal_ssd chunks": (causal_ssd.IMPLEMENTATIONS, causal_ssd.causal_ssd, _causal_operands(150, 16, 13)),
    "causal_ssd one token": (causal_ssd.IMPLEMENTATIONS, causal_ssd.causal_ssd, _causal_operands(tokens=1)),
    "causal_ssd wide": (causal_ssd.IMPLEMENTATIONS, causal_ssd.causal_ssd, _causal_operands(70, 37, 9)),
    "dct2": (dct.FORWARD, dct.dct2, (_draw(2, 3, 7, 5),)),
    "idct2": (dct.INVERSE, dct.idct2, (_draw(2, 3, 7, 5),)),
    "scan": (scan.IMPLEMENTATIONS, scan.scan, _scan_operands()),
    "scan wide": (scan.IMPLEMENTATIONS, scan.scan, _scan_operands(channels=41)),
    "scan one token": (scan.IMPLEMENTATIONS, scan.scan, _scan_operands(tokens=1)),
    "scan even": (scan.IMPLEMENTATIONS, scan.scan, _scan_operands(tokens=16)),
    "dilated": (dilated.IMPLEMENTATIONS, dilated.dilated, _dilated_operands()),
    "dilated wide": (dilated.IMPLEMENTATIONS, dilated.dilated, _dilated_operands(13, 19, 27)),
    "depthwise_silu": (depthwise_silu.IMPLEMENTATIONS, depthwise_silu.depthwise_silu, _local_operands()),
    "depthwise_silu wide": (
        depthwise_silu.IMPLEMENTATIONS,
        depthwise_silu.depthwise_silu,
        _local_operands(6, 13, 43),
    ),
    "depthwise_silu one": (
        depthwise_silu.IMPLEMENTATIONS,
        depthwise_silu.depthwise_silu,
        _local_operands(1, 1, 8),
    ),
    "splat": (splat.IMPLEMENTATIONS, _splat, _splat_operands()),
    "splat one": (splat.IMPLEMENTATIONS, _splat, _splat_operands(number=1)),
    "dilated one row": (dilated.IMPLEMENTATIONS, dilated.dilated, _dilated_operands(height=1)),
}
# the compiled kernels are no fixed part: they are built for the tests
COMPILED = ("ssd", "scan", "dilated", "causal_ssd", "depthwise_silu")
NATIVE = [(name, "native") for name in PRIMITIVES if name.split()[0] in COMPILED]
CASES = [(name, which) for name, (known, _, _) in PRIMITIVES.items() for which in known] + NATIVE


def _run(primitive, operands):
    inputs = tuple(operand.clone().requires_grad_() for operand in operands)
    output = primitive(*inputs)
    output.square().sum().backward()
    return output.detach(), [operand.grad for operand in inputs]


@pytest.mark.parametrize("name, which", CASES)
class TestBackends:
    @pytest.fixture(autouse=True)
    def kernels(self, which, request):
        if which == "native":
            request.getfixturevalue("compiled_kernels")

    def test_output_and_gradients_agree_with_the_reference(self, name, which):
        _, primitive, operands = PRIMITIVES[name]
        with backend.use("reference"):
            expected, expected_gradients = _run(primitive, operands)
        with backend.use(which):
            output, gradients = _run(primitive, operands)
        assert_close(output, expected)
        # gradients reach thousands, and float32 holds seven digits of the largest term
        assert_close(gradients, expected_gradients, rtol=1e-5, atol=1e-4)

    def test_strides_do_not_matter(self, name, which):
        _, primitive, operands = PRIMITIVES[name]
        strided = tuple(torch.stack([x, x + 1], dim=-1)[..., 0] for x in operands)
        assert not strided[0].is_contiguous()
        with backend.use(which):
            assert_close(primitive(*strided), primitive(*operands))

    def test_operands_are_left_alone(self, name, which):
        _, primitive, operands = PRIMITIVES[name]
        before = [operand.clone() for operand in operands]
        with backend.use(which):
            primitive(*operands)
        assert all(map(torch.equal, operands, before))

    def test_nothing_unset_is_read(self, name, which):
        _, primitive, operands = PRIMITIVES[name]
        torch.use_deterministic_algorithms(True)
        try:
            # deterministic mode fills fresh memory with NaN
            with backend.use(which):
                assert torch.isfinite(primitive(*operands)).all()
        finally:
            torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("compiled_kernels")
@pytest.mark.parametrize("name", [name for name, _ in NATIVE])
def test_compiled_kernels_are_what_runs_where_they_can(name, monkeypatch):
    _, primitive, operands = PRIMITIVES[name]
    asked = []
    monkeypatch.setattr(native, "call", lambda kernel, *_: asked.append(kernel))
    with torch.no_grad():
        primitive(*operands)
        assert len(asked) == 1
        primitive(*(operand.double() for operand in operands))
        primitive(*(operand.to("meta") for operand in operands))
        with FlopCounterMode(display=False) as counter:
            primitive(*operands)
    assert len(asked) == 1 and (counter.get_total_flops() > 0) == (name.split()[0] != "scan")


@pytest.mark.usefixtures("compiled_kernels")
def test_threads_change_no_bit():
    before = torch.get_num_threads()
    for name, _ in NATIVE:
        _, primitive, operands = PRIMITIVES[name]
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            with torch.no_grad():
                found.append(primitive(*operands))
        assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    torch.set_num_threads(before)


@pytest.mark.usefixtures("compiled_kernels")
@pytest.mark.parametrize("name", ["scan wide", "causal_ssd wide"])
def test_threads_change_no_bit_of_a_gradient(name):
    _, primitive, operands = PRIMITIVES[name]
    before, found = torch.get_num_threads(), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        output, gradients = _run(primitive, operands)
        found.append([output, *gradients])
    torch.set_num_threads(before)
    assert all(map(torch.equal, found[0], found[1])) and all(map(torch.equal, found[0], found[2]))


@pytest.mark.usefixtures("compiled_kernels")
def test_causal_walks_forget_by_strong_decay_and_never_look_ahead():
    x, steps, rate, keys, queries, skip = _causal_operands(tokens=40)
    with torch.no_grad():
        own = causal_ssd.causal_ssd(x, steps + 1, torch.full_like(rate, -1e5), keys, queries, skip)
        weights = (keys * queries).sum(dim=-1)[..., None, None] * (steps + 1).unsqueeze(-1)
        assert_close(own, weights * x + skip.unsqueeze(-1) * x)
        whole = causal_ssd.causal_ssd(x, steps, rate, keys, queries, skip)
        changed = torch.cat([x[:, :25], -x[:, 25:]], dim=1)
        later = causal_ssd.causal_ssd(changed, steps, rate, keys, queries, skip)
    assert torch.equal(whole[:, :25], later[:, :25]) and not torch.equal(whole[:, 25:], later[:, 25:])


@pytest.mark.usefixtures("compiled_kernels")
def test_strong_decay_is_zero_and_what_is_no_number_stays_so():
    x, steps, rate, weight = _scan_operands(channels=9)
    with torch.no_grad():
        states = scan.scan(x, steps + 1, torch.full_like(rate, -1e5), weight)
        assert_close(states, (steps + 1) * weight.unsqueeze(-1) * x)
        x[0, 3, 4] = float("nan")
        states = scan.scan(x, steps, rate, weight)
    assert torch.isnan(states[0, 3:, 4]).all() and not torch.isnan(states[1]).any()


def test_the_reference_is_everywhere():
    assert all("reference" in known for known, _, _ in PRIMITIVES.values())
    assert {which for _, which in CASES} <= set(backend.NAMES)


@pytest.mark.usefixtures("compiled_kernels")
def test_who_watches_functions_sees_the_plain_ones():
    class Watching(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            seen.append(function)
            return function(*args, **(kwargs or {}))

    seen = []
    with torch.no_grad(), Watching():
        depthwise_silu.depthwise_silu(*_local_operands())
    assert torch.nn.functional.silu in seen


@pytest.mark.parametrize("version, is_used", [("0.1.9", False), ("0.2.0", True), ("1.0.1", True)])
def test_kernels_of_an_older_release_are_left_alone(version, is_used, monkeypatch):
    found = SimpleNamespace(__version__=version)
    monkeypatch.setattr(native, "find_spec", lambda _: found)
    monkeypatch.setattr(native.importlib, "import_module", lambda _: found)
    monkeypatch.setattr(native, "library", lambda: found)
    assert native.is_built.__wrapped__() == is_used
