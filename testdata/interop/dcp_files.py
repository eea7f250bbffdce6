"""Writes distributed checkpoints: dcp_files.py DIRECTORY

The metadata are pickled by Python's own pickle, from classes with the names, fields and states of
torch/distributed/checkpoint/metadata.py and filesystem.py, so that the pickle is the one that torch
writes; torch itself, which may be older than these modules, saves the chunks, as _write_item of
filesystem.py does. What each process has is planned as by default_planner.py: names are the paths of
keys, joined with dots, and what is not a tensor goes through io.BytesIO.

Beside each directory NAME is NAME.tsv, a line for each tensor: its name, dtype, shape and the SHA-256 of
its elements.
"""

import hashlib
import io
import os
import pickle
import sys
import types

import torch

METADATA = """
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
import torch

class _MEM_FORMAT_ENCODING(Enum):
    TORCH_CONTIGUOUS_FORMAT = 0
    TORCH_CHANNELS_LAST = 1
    TORCH_PRESERVE_FORMAT = 2

@dataclass
class TensorProperties:
    dtype: Any = torch.float32
    layout: Any = torch.strided
    requires_grad: bool = False
    memory_format: Any = torch.contiguous_format
    pin_memory: bool = False

    def __getstate__(self):
        return (self.dtype, self.layout, self.requires_grad, _MEM_FORMAT_ENCODING.TORCH_CONTIGUOUS_FORMAT, self.pin_memory)

    def __setstate__(self, state):
        self.dtype, self.layout, self.requires_grad, _, self.pin_memory = state
"""

REST = """
@dataclass
class ChunkStorageMetadata:
    offsets: torch.Size
    sizes: torch.Size

@dataclass
class TensorStorageMetadata:
    properties: Any
    size: torch.Size
    chunks: list

@dataclass
class BytesStorageMetadata:
    pass

@dataclass
class StorageMeta:
    checkpoint_id: Any = None
    save_id: Any = None
    load_id: Any = None
    modules: list = field(default_factory=list)

@dataclass
class Metadata:
    state_dict_metadata: dict
    planner_data: Any = None
    storage_data: Any = None
    storage_meta: Any = None

@dataclass(frozen=True)
class MetadataIndex:
    fqn: str
    offset: Any = None
    index: Any = field(hash=False, compare=False, default=None)
"""

FILESYSTEM = """
from dataclasses import dataclass
from typing import Any

@dataclass
class _StorageInfo:
    relative_path: str
    offset: int
    length: int
"""


def module(name, source):
    """Makes a module, and the packages that it is in."""
    m = types.ModuleType(name)
    sys.modules[name] = m
    exec(source, m.__dict__)
    parent, _, last = name.rpartition(".")
    if parent not in sys.modules:
        module(parent, "")
    setattr(sys.modules[parent], last, m)
    return m


def payload(t):
    t = t.detach().contiguous()
    return bytes(t.clone().reshape(-1).view(torch.uint8).tolist()) if t.numel() else b""


def numbers(dtype, *shape):
    n = 1
    for d in shape:
        n *= d
    return (torch.arange(n, dtype=torch.float32) % 11).to(dtype).reshape(shape)


def cut(t, dim, ranks):
    """The chunks of a tensor that torch.chunk makes, with their offsets and their process."""
    out, at = [], 0
    for rank, part in enumerate(torch.chunk(t, ranks, dim) if t.dim() else [t]):
        offset = [0] * t.dim()
        if t.dim():
            offset[dim] = at
            at += part.shape[dim]
        out.append((rank, torch.Size(offset), part))
    return out


def write(out, meta, fs, properties, tensors, objects, ranks, with_storage_meta):
    os.makedirs(out, exist_ok=True)
    entries, places, paths = {}, {}, {}
    streams = [open(os.path.join(out, f"__{r}_0.distcp"), "wb") for r in range(ranks)]

    def put(rank, index, write):
        begin = streams[rank].tell()
        write(streams[rank])
        places[index] = fs._StorageInfo(f"__{rank}_0.distcp", begin, streams[rank].tell() - begin)

    for path, value in objects.items():
        name = ".".join(path)
        paths[name] = path
        entries[name] = meta.BytesStorageMetadata()
        data = io.BytesIO()
        torch.save(value, data)
        put(0, meta.MetadataIndex(name), lambda f: f.write(data.getbuffer()))
    for path, (t, dim) in tensors.items():
        name = ".".join(path)
        paths[name] = path
        chunks = []
        for i, (rank, offset, part) in enumerate(cut(t, dim, ranks)):
            chunks.append(meta.ChunkStorageMetadata(offset, part.shape))
            put(rank, meta.MetadataIndex(name, offset, i), lambda f: torch.save(part.detach().clone(), f))
        entries[name] = meta.TensorStorageMetadata(properties(dtype=t.dtype), t.shape, chunks)
    for s in streams:
        s.close()
    m = meta.Metadata(entries, paths, places)
    if with_storage_meta:
        m.storage_meta = meta.StorageMeta(save_id="0")
    else:
        del m.__dict__["storage_meta"]
    with open(os.path.join(out, ".metadata"), "wb") as f:
        pickle.dump(m, f)
    with open(out + ".tsv", "w") as f:
        for path, (t, _) in tensors.items():
            f.write("\t".join([".".join(path), str(t.dtype).removeprefix("torch."), "[" + " ".join(map(str, t.shape)) + "]", hashlib.sha256(payload(t)).hexdigest()]) + "\n")


def main(out):
    meta = module("torch.distributed.checkpoint.metadata", METADATA + REST)
    fs = module("torch.distributed.checkpoint.filesystem", FILESYSTEM)
    old = module("torch.distributed._shard.sharded_tensor.metadata", METADATA.replace("_MEM_FORMAT_ENCODING", "MEM_FORMAT_ENCODING"))
    tensors = {("model", "every." + str(d).removeprefix("torch.")): (numbers(d, 6, 5), i % 2) for i, d in enumerate(
        [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64])}
    tensors["model", "norm.weight"] = (numbers(torch.bfloat16, 7), 0)
    tensors["model", "turned"] = (numbers(torch.float32, 8, 3).t(), 1)
    tensors["model", "scalar"] = (torch.tensor(2.5), 0)
    tensors["model", "conv.weight"] = (numbers(torch.float32, 4, 3, 2, 2), 1)
    tensors["optimizer", "state", "model.norm.weight", "exp_avg"] = (numbers(torch.float32, 7), 0)
    objects = {("epoch",): 3, ("optimizer", "param_groups"): [{"lr": 1e-3}]}
    for ranks in [1, 2, 3, 8]:
        write(os.path.join(out, f"dcp-{ranks}"), meta, fs, meta.TensorProperties, tensors, objects, ranks, True)
    write(os.path.join(out, "dcp-old"), meta, fs, old.TensorProperties, tensors, objects, 2, False)
    print("5 distributed checkpoints", file=sys.stderr)


main(sys.argv[1])
