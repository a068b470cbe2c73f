"""The networks published by EvoNAS, as genotypes of space=evonet."""

from dataclasses import dataclass

NYU, KITTI, IMAGENET, COCO, ADE20K = (480, 640), (352, 1216), (224, 224), (800, 1280), (512, 2048)


@dataclass(frozen=True, slots=True)
class Published:
    """A published network.

    Args:
        genotype: text form, which `evonet_space()` parses.
        sizes: height and width of the images of its tasks, in pixels.
        source: where its choices are published.
    """

    genotype: str
    sizes: tuple[tuple[int, int], ...]
    source: str


_SPACE = "EvoNAS (arXiv 2603.19563), search_space.py: largest and smallest choices"
_DEPTH = "EvoNAS public code and its history, configurations exp06"
_DETECTION = "EvoNAS public code, DetectionNAS/configs/02_retrain"
_SEGMENTATION = "EvoNAS public code, SegmentNAS/configs/02_retrain"

# arguments of the family that all of them have
PUBLISHED_SETTINGS = {
    "dims": [64, 128, 256, 512],
    "heads": [2, 4, 8, 16],
    "stem_dim": 32,
    "stem_ratio": 4.0,
    "merge_ratio": 4.0,
}
PUBLISHED: dict[str, Published] = {
    "max": Published(
        "evonet:m=4,4,4,4/s=64,64,64/e=4,4,4/d=11.1111.11111111.1111", (NYU, KITTI, IMAGENET), _SPACE
    ),
    "min": Published(
        "evonet:m=0.5,0.5,0.5,0.5/s=16,16,16/e=0.5,0.5,0.5/d=10.1000.10000000.1000",
        (NYU, KITTI, IMAGENET),
        _SPACE,
    ),
    "vssd-tiny": Published(
        "evonet:m=4,4,4,4/s=64,64,64/e=2,2,2/d=11.1111.11111111.1111",
        (NYU, IMAGENET),
        "VSSD (arXiv 2407.18559), VSSD-T",
    ),
    "nyu-base": Published("evonet:m=2,3.5,3,3/s=64,48,64/e=2,3,4/d=01.1010.11111110.1010", (NYU,), _DEPTH),
    "nyu-small": Published("evonet:m=2,3.5,1,1/s=48,32,64/e=2,3,4/d=01.1000.11011100.1010", (NYU,), _DEPTH),
    "nyu-tiny": Published("evonet:m=2,0.5,1,2/s=16,16,64/e=2,2,2/d=01.0100.00001000.1000", (NYU,), _DEPTH),
    "kitti-base": Published(
        "evonet:m=3,3.5,3.5,4/s=48,32,32/e=1,4,4/d=01.1110.11011100.0001", (KITTI,), _DEPTH
    ),
    "kitti-small": Published(
        "evonet:m=4,1,3.5,2/s=48,16,32/e=1,4,2/d=10.0100.11011100.0001", (KITTI,), _DEPTH
    ),
    "kitti-tiny": Published(
        "evonet:m=2,0.5,1,1/s=16,16,64/e=0.5,0.5,2/d=10.0100.01000000.0010", (KITTI,), _DEPTH
    ),
    "coco-base": Published(
        "evonet:m=4,1,4,3/s=16,16,48/e=3,3,4/d=10.1110.11011101.1011", (COCO,), _DETECTION
    ),
    "coco-small": Published(
        "evonet:m=3.5,1,1,2/s=16,32,48/e=0.5,2,2/d=01.0101.11110100.1010", (COCO,), _DETECTION
    ),
    "coco-tiny": Published(
        "evonet:m=2,1,1,2/s=16,16,32/e=0.5,0.5,2/d=10.0001.11011100.1100", (COCO,), _DETECTION
    ),
    "ade20k-base": Published(
        "evonet:m=3,1,4,2/s=32,32,64/e=3,4,4/d=10.1110.11110101.1000", (ADE20K,), _SEGMENTATION
    ),
    "ade20k-small": Published(
        "evonet:m=3,1,3,2/s=64,64,32/e=3,0.5,4/d=01.0001.01010100.1000", (ADE20K,), _SEGMENTATION
    ),
    "ade20k-tiny": Published(
        "evonet:m=3,1,0.5,0.5/s=16,64,64/e=3,0.5,1/d=01.0001.01010001.1000", (ADE20K,), _SEGMENTATION
    ),
}
