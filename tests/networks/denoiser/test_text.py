"""How a text becomes words."""

import torch

from vitrail.networks.denoiser._text import TextEncoder
from vitrail.types import NO_BYTE


def test_what_lies_behind_the_end_of_a_text_is_not_there() -> None:
    torch.manual_seed(0)
    long, short = TextEncoder(16, 9).eval(), TextEncoder(16, 4).eval()
    short.load_state_dict(long.state_dict())
    words, fewer = long(torch.tensor([[97, 98, *[NO_BYTE] * 7]])), short(torch.tensor([[97, 98, *[NO_BYTE] * 2]]))
    torch.testing.assert_close(words.mean, fewer.mean)
    torch.testing.assert_close(words.vectors[:, :3], fewer.vectors[:, :3])
    assert words.there.flatten().tolist() == [True] * 3 + [False] * 7
