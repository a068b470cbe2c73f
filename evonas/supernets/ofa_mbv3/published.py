"""Published networks of the space: those of NAT (Neural Architecture Transfer, arXiv 2005.05859)."""

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Published:
    """A published network; digits are choices of its blocks in order, without those that do not run.

    Args:
        width: multiplier of the channels of its supernet.
        resolution: side of its images in pixels.
        kernels: kernel size of each block.
        expand: expansion of each block.
        depths: number of blocks of each stage.
        classes: number of classes.
        act_func: its only activation, or None for ReLU and h-swish.
    """

    width: float
    resolution: int
    kernels: str
    expand: str
    depths: str
    classes: int
    act_func: str | None = None


# from the `net.subnet` and `net.config` files of the authors' repository; named by their data sets, and NAT-M1 to M4
# for ImageNet
PUBLISHED = MappingProxyType(
    {
        "aircraft": Published(1.2, 252, "333357755533333", "333343336334344", "22434", 100),
        "cars": Published(1.0, 256, "35737535753", "33443433334", "22322", 196),
        "cifar10": Published(1.2, 224, "7777737577737773", "3364643364666633", "22444", 10),
        "cifar100": Published(1.2, 224, "73777777777777777777", "66666666664664666666", "44444", 100),
        "cinic10": Published(1.2, 224, "55777775777777", "36666466666666", "23234", 10),
        "dtd": Published(1.0, 228, "35733353553", "64336364444", "22223", 47),
        "flowers102": Published(1.2, 240, "5733557757373", "3344643663344", "33232", 102, "mish"),
        "food101": Published(1.0, 252, "73573333735373333", "34346434336433666", "34343", 101),
        "nat-m1": Published(1.0, 224, "333335535555533", "333444434336666", "23334", 1000, "mish"),
        "nat-m2": Published(1.2, 224, "3373775377333", "3333433646663", "22324", 1000, "mish"),
        "nat-m3": Published(1.2, 224, "5335353553357357333", "3334443463366646663", "34444", 1000, "mish"),
        "nat-m4": Published(1.2, 240, "3535535753535733353", "3434463663466646663", "34444", 1000, "mish"),
        "pets": Published(1.2, 232, "33333335777377", "33666433333366", "22442", 37),
        "stl10": Published(1.0, 232, "773333777577533733", "436343663466336663", "24444", 10, "mish"),
    }
)
