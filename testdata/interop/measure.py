"""What Python does with the standard library, or with NumPy, as make compare times it.

    measure.py list PATH       the tensors: name, dtype and shape, one per line
    measure.py time PATH N     reads the header N times and prints the nanoseconds of each
    measure.py stats PATH      name, minimum, maximum, mean, deviation, NaN, Inf and zeros of BF16 tensors
    measure.py digests PATH    name and SHA-256, one per line
    measure.py version         of Python and NumPy
"""
import json
import os
import sys
import time


def header(path):
    with open(path, "rb") as f:
        n = int.from_bytes(f.read(8), "little")
        h = json.loads(f.read(n))
    h.pop("__metadata__", None)
    return h, 8 + n


def files(path):
    if not os.path.isdir(path):
        return [path]
    return [os.path.join(path, name) for name in sorted(os.listdir(path)) if name.endswith(".safetensors")]


def tensors(path):
    """Yields the name of each tensor, and its bytes as an array that maps the file."""
    import numpy

    h, start = header(path)
    for name, t in h.items():
        begin, end = t["data_offsets"]
        yield name, numpy.memmap(path, numpy.uint8, "r", start + begin, (end - begin,))


def main():
    command, *args = sys.argv[1:]
    out = []
    if command == "list":
        for path in files(args[0]):
            for name, t in header(path)[0].items():
                out.append(f"{name}\t{t['dtype']}\t[{','.join(map(str, t['shape']))}]\n")
    elif command == "time":
        for _ in range(int(args[1])):
            start = time.perf_counter_ns()
            for path in files(args[0]):
                header(path)
            out.append(f"{time.perf_counter_ns() - start}\n")
    elif command == "stats":
        import numpy

        for name, data in tensors(args[0]):
            # A BF16 number is the upper half of an F32.
            x = (data.view(numpy.uint16).astype(numpy.uint32) << 16).view(numpy.float32)
            figures = [x.min(), x.max(), x.mean(dtype=numpy.float64), x.std(dtype=numpy.float64)]
            counts = [numpy.isnan(x).sum(), numpy.isinf(x).sum(), (x == 0).sum()]
            out.append("\t".join([name, *(repr(float(v)) for v in figures), *(str(int(v)) for v in counts)]) + "\n")
    elif command == "digests":
        import hashlib

        for name, data in tensors(args[0]):
            out.append(f"{name}\t{hashlib.sha256(data).hexdigest()}\n")
    elif command == "version":
        import numpy

        out.append(f"Python {sys.version.split()[0]}, NumPy {numpy.__version__}\n")
    sys.stdout.write("".join(out))


main()
