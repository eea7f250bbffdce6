"""Compares wtinspect cat with NumPy: cat.py PROGRAM DIRECTORY [TURNS]

Random arrays of every type that both have are written as safetensors, and cut by random
slices. What cat prints to a file and on terminals of several widths, and its .npy, raw bytes and
JSON, are those of NumPy.
"""

import fcntl
import json
import os
import pty
import random
import struct
import subprocess
import sys
import termios
import warnings

import numpy as np

TYPES = {
    "F16": "<f2", "F32": "<f4", "F64": "<f8", "C64": "<c8", "BOOL": "|b1", "I8": "|i1", "U8": "|u1", "I16": "<i2", "U16": "<u2",
    "I32": "<i4", "U32": "<u4", "I64": "<i8", "U64": "<u8",
}
SIZES = [1, 2, 3, 4, 5, 7, 8, 20]


def numbers(rng, dtype, shape):
    n = int(np.prod(shape))
    kind = np.dtype(TYPES[dtype])
    if dtype == "BOOL":
        return rng.integers(0, 2, n).astype(kind).reshape(shape)
    if dtype[0] in "IU":
        if random.random() < 0.5:
            return rng.integers(0, 9, n).astype(kind).reshape(shape)
        return np.frombuffer(rng.bytes(n * kind.itemsize), kind).reshape(shape)
    part = np.dtype("<f4") if dtype == "C64" else kind
    m = n * kind.itemsize // part.itemsize
    values = [
        lambda: np.frombuffer(rng.bytes(m * part.itemsize), part),
        lambda: rng.normal(size=m),
        lambda: rng.integers(-20, 20, m) / 4,
        lambda: rng.normal(size=m) * 10.0 ** rng.integers(-4, 4, m),
        lambda: rng.choice([0.0, -0.0, np.nan, np.inf, -np.inf, 1, 0.25, 100], m),
        lambda: np.full(m, rng.choice([0.0, -0.0, np.nan, np.inf, 1])),
    ]
    return random.choice(values)().astype(part).view(kind).reshape(shape)


def cut(shape):
    parts = []
    for size in shape[: random.randint(0, len(shape))]:
        if size and random.random() < 0.25:
            parts.append(str(random.randrange(-size, size)))
        else:
            place = lambda: random.choice(["", str(random.randint(-size - 3, size + 3))])
            parts.append(place() + ":" + place() + random.choice(["", ":", ":-1", ":2", ":-3", ":1000"]))
    if random.random() < 0.3:  # at the end, so that every index fits its axis
        parts.append("...")
    return ",".join(parts)


def write(path, tensors):
    header, data = {}, b""
    for name, (dtype, a) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(a.shape), "data_offsets": [len(data), len(data) + a.nbytes]}
        data += a.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def plain(v):
    if isinstance(v, list):
        return [plain(e) for e in v]
    if isinstance(v, complex):
        return [plain(v.real), plain(v.imag)]
    if isinstance(v, float) and (v != v or v in (np.inf, -np.inf)):
        return "NaN" if v != v else "Infinity" if v > 0 else "-Infinity"
    return v


def on_terminal(columns, args):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k != "COLUMNS"} | {"TERM": "xterm"}
    with subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.DEVNULL, env=env):
        os.close(theirs)
        out = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # nobody has the other end
                break
            if not part:
                break
            out += part
    os.close(ours)
    return out.decode().replace("\r\n", "\n")


def main(program, directory, turns=150):
    warnings.simplefilter("ignore")
    np.set_printoptions(floatmode="unique")
    rng = np.random.default_rng(17)
    random.seed(17)
    path = os.path.join(directory, "m.safetensors")
    bad = 0
    for _ in range(int(turns)):
        dtype = random.choice(list(TYPES))
        shape = tuple(random.choice(SIZES) for _ in range(random.randrange(5)))
        if random.random() < 0.3:
            shape = random.choice([(1000,), (1001,), (50, 50), (0, 3)])
        a = numbers(rng, dtype, shape)
        write(path, {"x": (dtype, a)})
        word = cut(shape)
        want = np.asarray(eval("a[%s]" % word) if word else a)

        def cat(form):
            args = [program, "cat", "-q", path, "x", "-f", form] + (["--slice=" + word] if word else [])
            return subprocess.run(args, capture_output=True, check=True).stdout

        out = os.path.join(directory, "x.npy")
        with open(out, "wb") as f:
            f.write(cat("npy"))
        array = np.load(out)
        text = cat("text").decode().split("\n", 1)[1]
        columns = random.choice([40, 80, 132])
        args = [program, "cat", "-q", "--no-pager", "--color", "never", path, "x"] + (["--slice=" + word] if word else [])
        screen = on_terminal(columns, args)
        doc = json.loads(cat("json"))["tensors"][0]
        for what, same in {
            "text": text == np.array2string(want, separator=", ", max_line_width=10**6) + "\n",
            "screen": screen.endswith("\n" + np.array2string(want, separator=", ", max_line_width=columns) + "\n"),
            "npy": array.dtype == want.dtype and array.shape == want.shape and array.tobytes() == want.tobytes(),
            "raw": cat("raw") == want.tobytes(),
            "json": doc["values_shape"] == list(want.shape) and doc["values"] == (plain(want.tolist()) if want.size else []),
        }.items():
            if not same:
                bad += 1
                print("FAIL: %s of %s %s [%s]" % (what, dtype, shape, word))
    return bad


if __name__ == "__main__":
    sys.exit(1 if main(*sys.argv[1:]) else 0)
