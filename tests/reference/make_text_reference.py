"""Makes text.npz: a CRNN, CTC losses and most probable texts, by PyTorch.

It needs torch 2.13.0, on a CPU: python tests/reference/make_text_reference.py

The CRNN is written from Table 1 of Shi, Bai and Yao, https://arxiv.org/abs/1507.05717,
with PyTorch's layers, and a linear layer behind the first LSTM as in the authors' code.
Its weights are random; so are the running statistics.

  * crnn_parameters: number of parameters with 37 classes;
  * crnn/NAME: tensors of a network with few filters; crnn_images, crnn_logits, float64;
  * ctc_logits [B, T, K + 1], ctc_text [B, N] (-1 behind the end), ctc_loss [B],
    ctc_gradient of the sum of the losses, float64; the blank is K;
  * search_log_probabilities [B, T, K + 1]; search_text [B, T], the most probable of all
    texts there are, and search_loss [B], -log of its probability; words_text and
    words_loss likewise for texts of the words 0 and 0 1 0 with a 2 between them.
"""

import itertools
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

FILTERS = (64, 128, 256, 256, 512, 512, 512)
FEW = (3, 4, 5, 6, 7, 8, 9)


class CRNN(nn.Module):
    """Table 1, from the bottom to the top."""

    def __init__(self, filters: tuple[int, ...], hidden: int, classes: int) -> None:
        super().__init__()
        f1, f2, f3, f4, f5, f6, f7 = filters
        self.conv1 = nn.Conv2d(1, f1, 3, 1, 1)
        self.conv2 = nn.Conv2d(f1, f2, 3, 1, 1)
        self.conv3 = nn.Conv2d(f2, f3, 3, 1, 1)
        self.conv4 = nn.Conv2d(f3, f4, 3, 1, 1)
        self.conv5 = nn.Conv2d(f4, f5, 3, 1, 1)
        self.norm5 = nn.BatchNorm2d(f5)
        self.conv6 = nn.Conv2d(f5, f6, 3, 1, 1)
        self.norm6 = nn.BatchNorm2d(f6)
        self.conv7 = nn.Conv2d(f6, f7, 2, 1, 0)
        self.lstm1 = nn.LSTM(f7, hidden, bidirectional=True, batch_first=True)
        self.join = nn.Linear(2 * hidden, hidden)
        self.lstm2 = nn.LSTM(hidden, hidden, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * hidden, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2, 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2, 2)
        x = functional.relu(self.conv3(x))
        x = functional.relu(self.conv4(x))
        x = functional.max_pool2d(x, (2, 1), (2, 1))
        x = functional.relu(self.norm5(self.conv5(x)))
        x = functional.relu(self.norm6(self.conv6(x)))
        x = functional.max_pool2d(x, (2, 1), (2, 1))
        x = functional.relu(self.conv7(x))
        x = x.squeeze(2).transpose(1, 2)  # map to sequence
        x = self.join(self.lstm1(x)[0])
        return self.head(self.lstm2(x)[0])


def crnn() -> dict[str, np.ndarray]:
    network = CRNN(FEW, 5, 6).double().eval()
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith("weight") and tensor.ndim > 1:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5)
    images = torch.randn(2, 1, 32, 46, dtype=torch.float64)
    with torch.no_grad():
        logits = network(images)
    whole = CRNN(FILTERS, 256, 37)
    return {
        "crnn_parameters": np.int64(sum(p.numel() for p in whole.parameters())),
        "crnn_images": images.permute(0, 2, 3, 1).numpy(),
        "crnn_logits": logits.numpy(),
        **{f"crnn/{name}": x.numpy() for name, x in network.state_dict().items()},
    }


def losses(
    log_probabilities: torch.Tensor, texts: list[tuple[int, ...]]
) -> torch.Tensor:
    """[B, T, K + 1] and B texts -> [B]."""
    return functional.ctc_loss(
        log_probabilities.transpose(0, 1),
        torch.tensor([code for text in texts for code in text], dtype=torch.int64),
        torch.full((len(texts),), log_probabilities.shape[1]),
        torch.tensor([len(text) for text in texts]),
        blank=log_probabilities.shape[2] - 1,
        reduction="none",
    )


def padded(texts: list[tuple[int, ...]], length: int) -> np.ndarray:
    filled = np.full((len(texts), length), -1, np.int32)
    for row, text in zip(filled, texts, strict=True):
        row[: len(text)] = text
    return filled


def ctc() -> dict[str, np.ndarray]:
    # Doubled characters; none; as many as the ten frames hold, with and without a
    # doubled one.
    texts = [(0, 1, 2), (3, 3, 0), (), (4, 0, 4, 0, 4, 0, 4, 0, 4, 1)]
    texts += [(0, 0, 1, 2, 2, 2, 3), (1,)]
    logits = 2 * torch.randn(len(texts), 10, 6, dtype=torch.float64)
    logits.requires_grad_()
    loss = losses(functional.log_softmax(logits, dim=-1), texts)
    loss.sum().backward()
    return {
        "ctc_logits": logits.detach().numpy(),
        "ctc_text": padded(texts, 10),
        "ctc_loss": loss.detach().numpy(),
        "ctc_gradient": logits.grad.numpy(),
    }


def is_words(text: tuple[int, ...]) -> bool:
    words = "".join(map(str, text)).split("2")
    return not text or all(word in ("0", "010") for word in words)


def search() -> dict[str, np.ndarray]:
    number, frames, characters = 40, 5, 3
    logits = torch.randn(number, frames, characters + 1, dtype=torch.float64)
    log_probabilities = functional.log_softmax(logits, dim=-1)
    texts = [
        text
        for length in range(frames + 1)
        for text in itertools.product(range(characters), repeat=length)
    ]
    table = torch.stack(
        [losses(row.expand(len(texts), -1, -1), texts) for row in log_probabilities]
    )
    arrays = {"search_log_probabilities": log_probabilities.numpy()}
    allowed = torch.tensor([is_words(text) for text in texts])
    for name, costs in (
        ("search", table),
        ("words", torch.where(allowed, table, torch.inf)),
    ):
        cost, best = costs.min(dim=1)
        arrays[f"{name}_text"] = padded([texts[i] for i in best], frames)
        arrays[f"{name}_loss"] = cost.numpy()
    return arrays


def main() -> None:
    torch.manual_seed(0)
    np.savez_compressed(
        Path(__file__).with_name("text.npz"), **crnn(), **ctc(), **search()
    )


if __name__ == "__main__":
    main()
