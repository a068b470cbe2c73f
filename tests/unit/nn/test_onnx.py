"""An extracted network as ONNX."""

import numpy as np
import pytest
import torch

from evonas.nn.heads import DenseHead
from evonas.supernets.evonet.family import EvoNet
from evonas.supernets.evonet.space import evonet_space
from evonas.supernets.static_net import static_net


def test_exports_and_agrees(tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    space = evonet_space(expand=[0.5, 1], d_state=[4, 8], mlp_ratio=[0.5, 1], depths=[1, 1, 2, 1])
    family = EvoNet(space, (8, 16, 24, 32), (2, 4, 2, 4), stem_dim=8)
    head = DenseHead(family.levels, 1, width=8, output="sigmoid", scale=20.0)
    net = static_net(family, head, space.largest()).eval()
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "net.onnx"
    torch.onnx.export(net, (x,), path, dynamo=True, opset_version=18, verbose=False)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(output, net(x).numpy(), rtol=0, atol=1e-4)
