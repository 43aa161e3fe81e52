"""VGG16's convolutions, named as torchvision names them, and what its layers see on the way."""

from __future__ import annotations

from torch import Tensor, nn

# Channels of each convolution of 3 x 3, which a ReLU follows; 0: 2 x 2 max pooling.
LAYERS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)
SEEN = {3: 64, 8: 128, 15: 256, 22: 512, 29: 512}  # place in `features` of each block's last ReLU -> channels


class Vgg16(nn.Module):
    """RGB of ImageNet's mean and variance (B, 3, H, W) -> the five blocks' maps (B, C, H / 2^i, W / 2^i), finest first.

    Every number of channels is divided by `thinner`, which is 1 in the published net.
    Source: Simonyan & Zisserman 2015, table 1, column D, without the fully connected layers.
    """

    def __init__(self, thinner: int = 1) -> None:
        super().__init__()
        self.thinner = thinner
        layers: list[nn.Module] = []
        inner = 3
        for outer in (channels // thinner for channels in LAYERS):
            if outer:
                layers += [nn.Conv2d(inner, outer, 3, padding=1), nn.ReLU()]
                inner = outer
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in SEEN:
                maps.append(x)
        return maps
