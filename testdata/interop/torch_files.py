"""Writes checkpoints with torch: torch_files.py DIRECTORY [small]

Beside each NAME.pt is NAME.tsv, a line for each tensor: its name, which is the path of keys,
dtype, shape, strides, offset and the SHA-256 of its elements in the order of the shape. It is of
the values that were saved, and torch.load(weights_only=True) has to find the same in the
file where it reads that protocol. With "small", only what package pytorch keeps for its tests.
"""

import argparse
import collections
import hashlib
import os
import pickle
import sys
import warnings

import torch

warnings.simplefilter("ignore")
DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
    torch.bool, torch.complex64, torch.complex128,
] + [getattr(torch, n) for n in ("float8_e4m3fn", "float8_e5m2", "uint16", "uint32", "uint64") if hasattr(torch, n)]


def payload(t):
    t = t.detach().contiguous()
    if t.is_quantized:
        t = t.int_repr()
    size = t.element_size() * t.numel()
    return bytes(t.clone().reshape(-1).view(torch.uint8).tolist() if size else [])


def tensors(v, path=""):
    if isinstance(v, Net):
        v = dict(v.state_dict(keep_vars=True), mask=v.mask)
    if isinstance(v, torch.Tensor):
        yield path, v
        if v.is_quantized and v.qscheme() == torch.per_channel_affine:
            yield path + ".q_per_channel_scales", v.q_per_channel_scales()
            yield path + ".q_per_channel_zero_points", v.q_per_channel_zero_points()
    elif isinstance(v, dict):
        for k, x in v.items():
            yield from tensors(x, f"{path}.{k}" if path else str(k))
    elif isinstance(v, (list, tuple)):
        for i, x in enumerate(v):
            yield from tensors(x, f"{path}.{i}" if path else str(i))


def lines(v):
    for name, t in tensors(v):
        dims = lambda d: "[" + " ".join(map(str, d)) + "]"
        yield "\t".join([
            name, str(t.dtype).removeprefix("torch."), dims(t.shape), dims(t.stride()), str(t.storage_offset()),
            hashlib.sha256(payload(t)).hexdigest(),
        ])


def numbers(dtype, *shape):
    n = 1
    for d in shape:
        n *= d
    return (torch.arange(n, dtype=torch.float32) % 7).to(dtype).reshape(shape)


def every():
    d = collections.OrderedDict()
    for dtype in DTYPES:
        d["every." + str(dtype)] = numbers(dtype, 2, 3)
    d._metadata = {"": {"version": 1}}
    return d


def views():
    base = torch.arange(240, dtype=torch.float32).reshape(4, 6, 10)
    half = torch.arange(60).to(torch.float16).reshape(6, 10)
    qkv = torch.randn(12, 4)
    return {
        "base": base, "again": base, "row": base[1], "column": base[:, 2], "transposed": base.permute(2, 0, 1), "t": half.t(),
        "step": base[::2, 1::3, ::4], "scalar": base[3, 5, 9], "none": base[:0], "expanded": base[0, 0].expand(3, 10),
        "q": qkv[:4], "k": qkv[4:8], "v": qkv[8:], "diagonal": half.diagonal(), "last": torch.zeros(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(half), "bool": torch.tensor([[True, False], [False, True]]).t(),
    }


def training():
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 4))
    model[2].weight = torch.nn.Parameter(model[0].weight.t())
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    return {
        "epoch": 3, "global_step": 840, "pytorch-lightning_version": "1.9.5", "state_dict": model.state_dict(), "loops": {"fit": {"n": 1}},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.25), "best_model_path": "a.ckpt"}},
        "optimizer_states": [optimizer.state_dict()], "lr_schedulers": [{"last_epoch": 3}],
    }


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Linear(4, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        self.scale = torch.nn.Parameter(torch.ones(3))
        self.mask = torch.tril(torch.ones(3, 3))


def main(out, small):
    os.makedirs(out, exist_ok=True)
    torch.manual_seed(1)
    kinds = {"every": every(), "views": views(), "training": training()}
    if not small:
        kinds["namespace"] = dict(training(), hyper_parameters=argparse.Namespace(width=4))
        kinds["module"] = Net()
        kinds["quantised"] = {"per_tensor": torch.quantize_per_tensor(torch.randn(3, 4), 0.1, 3, torch.quint8),
                              "per_channel": torch.quantize_per_channel(torch.randn(3, 4), torch.tensor([0.1, 0.2, 0.3]).double(), torch.tensor([0, 1, 2]), 0, torch.qint8)}
    read = 0
    for kind, value in kinds.items():
        for protocol in [2] if small else [1, 2, 3, 4, 5]:
            for zipped in [True, False]:
                name = os.path.join(out, f"{kind}-{protocol}-{'zip' if zipped else 'legacy'}")
                torch.save(value, name + ".pt", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
                want = list(lines(value))
                try:
                    got = list(lines(torch.load(name + ".pt", weights_only=True)))
                    read += 1
                    assert got == want, name
                except Exception as e:  # of what weights_only refuses: other protocols, argparse.Namespace
                    if isinstance(e, AssertionError):
                        raise
                with open(name + ".tsv", "w") as f:
                    f.write("".join(line + "\n" for line in want))
    # What pickle.dump makes of tensors, which torch.load does not read.
    for protocol in [4] if small else [2, 3, 4, 5]:
        name = os.path.join(out, f"dumped-{protocol}-pickle")
        with open(name + ".pt", "wb") as f:
            pickle.dump(views(), f, protocol)
        with open(name + ".tsv", "w") as f:
            f.write("".join(line + "\n" for line in lines(pickle.load(open(name + ".pt", "rb")))))
    print(f"{len(os.listdir(out)) // 2} files, {read} of them read by torch.load(weights_only=True)", file=sys.stderr)


main(sys.argv[1], "small" in sys.argv[2:])
