"""The path under which OpenMMLab configurations of the first release import exported backbones."""

from evonas.stages.networks.openmmlab import ExportedBackbone

__all__ = ["ExportedBackbone"]
