"""Compares the numbers that wtinspect convert writes with NumPy's: casts.py PROGRAM DIRECTORY

A million F32 values, among them NaN, infinities, subnormal numbers, the ends of every range
and all ties, and every value of 16 bits, are given each dtype. What NumPy has, astype does.
BF16 and the 8-bit types are rounded here, by what IEEE 754, the OCP's 8-bit specification
and LLVM's APFloat (the fnuz types) say. Quantised weights are worked out by the formulas of
the projects that write them. NaN is compared as NaN, whatever its bits.
"""

import json
import os
import struct
import subprocess
import sys

import numpy as np

from cat import write


class Float:
    """A small floating-point type: bits of the exponent and the mantissa, and what is special."""

    def __init__(self, exponent, mantissa, bias, special):
        self.mantissa, self.least = mantissa, 1 - bias
        self.special, self.width = special, 1 + exponent + mantissa
        codes = np.arange(1 << self.width)
        sign = np.where(codes >> (exponent + mantissa), -1.0, 1.0)
        e = codes >> mantissa & (1 << exponent) - 1
        m = (codes & (1 << mantissa) - 1).astype("f8")
        top = 1 << mantissa
        values = np.where(e > 0, np.ldexp(1 + m / top, e - bias), np.ldexp(m / top, self.least)) * sign
        if special == "ieee":
            values = np.where(e == (1 << exponent) - 1, np.where(m == 0, sign * np.inf, np.nan), values)
        elif special == "fn":  # no infinities; NaN has every bit set
            values = np.where(codes & (1 << self.width - 1) - 1 == (1 << self.width - 1) - 1, np.nan, values)
        elif special == "fnuz":  # one NaN, where -0 would be
            values = np.where(codes == 1 << self.width - 1, np.nan, values)
        self.values = values
        self.most = np.nanmax(values[np.isfinite(values)])

    def round(self, x):
        """The numbers nearest to x, ties to even: x is exact in float64."""
        _, e = np.frexp(x)
        step = np.ldexp(1.0, np.maximum(e - 1, self.least) - self.mantissa)
        q = np.rint(x / step) * step
        beyond = np.inf if self.special == "ieee" else np.nan
        q = np.where(np.abs(q) > self.most, np.copysign(beyond, x), q)
        if self.special != "ieee":
            q = np.where(np.isinf(x), np.nan, q)
        if self.special == "fnuz":
            q = np.where(q == 0, 0.0, q)
        return np.where(np.isnan(x), np.nan, q)


TYPES = {
    "BF16": Float(8, 7, 127, "ieee"),
    "F16": Float(5, 10, 15, "ieee"),
    "F8_E4M3": Float(4, 3, 7, "fn"),
    "F8_E5M2": Float(5, 2, 15, "ieee"),
    "F8_E4M3FNUZ": Float(4, 3, 8, "fnuz"),
    "F8_E5M2FNUZ": Float(5, 2, 16, "fnuz"),
}


def read(path):
    """The tensors of a safetensors file, as float64."""
    with open(path, "rb") as f:
        (n,) = struct.unpack("<Q", f.read(8))
        header, data = json.loads(f.read(n)), f.read()
    out = {}
    for name, t in header.items():
        if name == "__metadata__":
            continue
        raw = data[t["data_offsets"][0] : t["data_offsets"][1]]
        kind = {"F32": "<f4", "F64": "<f8"}.get(t["dtype"])
        if kind:
            values = np.frombuffer(raw, kind).astype("f8")
        else:
            typ = TYPES[t["dtype"]]
            values = typ.values[np.frombuffer(raw, "<u2" if typ.width == 16 else "u1")]
        out[name] = t["dtype"], values.reshape(t["shape"])
    return out


def samples(rng):
    """A million F32 values."""
    edges = [0x0, 0x1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x33000000, 0x33000001, 0x387FC000, 0x477FEFFF, 0x477FF000]
    parts = [np.array(edges, "u4").view("f4"), rng.integers(0, 1 << 32, 400_000, "u4").view("f4"), rng.normal(size=200_000).astype("f4")]
    for typ in TYPES.values():
        v = np.sort(np.unique(typ.values[np.isfinite(typ.values)]))
        ties = (v[1:] + v[:-1]) / 2  # exact, and every one an F32 but of BF16's subnormal numbers
        ends = np.array([typ.most, typ.most + (v[-1] - v[-2]) / 2])
        for x in (v, ties, ends, -ends):
            x = x.astype("f4")
            parts += [x, np.nextafter(x, np.float32(np.inf)), np.nextafter(x, np.float32(-np.inf))]
    x = np.concatenate([np.concatenate([p, -p]) for p in parts])
    return np.concatenate([x, rng.normal(size=max(0, 1_000_000 - x.size)).astype("f4")])


def same(got, want):
    return got.shape == want.shape and bool(np.all((got == want) & (np.signbit(got) == np.signbit(want)) | np.isnan(got) & np.isnan(want)))


def main(program, directory):
    np.seterr(all="ignore")
    rng = np.random.default_rng(17)
    source, out = os.path.join(directory, "casts.safetensors"), os.path.join(directory, "cast.safetensors")
    bad = done = 0

    def convert(tensors, dtype, config=None):
        path = source
        if config:
            path = os.path.join(directory, "release")
            os.makedirs(path, exist_ok=True)
            with open(os.path.join(path, "config.json"), "w") as f:
                f.write(config)
            write(os.path.join(path, "model.safetensors"), tensors)
        else:
            write(path, tensors)
        subprocess.run([program, "convert", "-q", path, "--dtype", dtype.lower(), "--force", "-o", out], check=True, capture_output=True)
        return read(out)

    def check(what, got, dtype, want):
        nonlocal bad, done
        done += 1
        if got[0] != dtype or not same(got[1], want):
            bad += 1
            print("FAIL: %s" % what)
            if got[1].shape == want.shape:
                at = np.flatnonzero(~((got[1] == want) | np.isnan(got[1]) & np.isnan(want)).ravel())[:3]
                print("   ", at, got[1].ravel()[at], want.ravel()[at])

    def rounded(x, dtype):
        """x, exact in float64, in a dtype."""
        if dtype in ("F16", "F32"):  # NumPy has these
            return x.astype("<f2" if dtype == "F16" else "<f4").astype("f8")
        return x if dtype == "F64" else TYPES[dtype].round(x)

    x = samples(rng)
    wide = np.concatenate([x.astype("f8") * (1 + 2.0**-30), rng.integers(0, 1 << 64, 100_000, "u8").view("f8")])
    for dtype in [*TYPES, "F64"]:
        check("F32 to " + dtype, convert({"x": ("F32", x)}, dtype)["x"], dtype, rounded(x.astype("f8"), dtype))
    for dtype in [*TYPES, "F32"]:
        check("F64 to " + dtype, convert({"x": ("F64", wide)}, dtype)["x"], dtype, rounded(wide, dtype))
    for of, typ in TYPES.items():
        codes = np.arange(1 << typ.width).astype("<u2" if typ.width == 16 else "u1")
        for dtype in [*TYPES, "F32", "F64"]:
            if dtype != of:
                check(of + " to " + dtype, convert({"x": (of, codes)}, dtype)["x"], dtype, rounded(typ.values, dtype))

    # Quantised weights, each number rounded once from what the formula gives exactly.
    f8 = TYPES["F8_E4M3"].values
    for dtype in ("F32", "BF16", "F16"):
        # DeepSeek-V3: inference/kernel.py weight_dequant, a scale for 128 by 128 values, or as config.json says.
        codes, size = rng.integers(0, 256, (200, 300)).astype("u1"), (128, 128)
        for size, config in ((128, 128), '{"torch_dtype": "bfloat16"}'), ((64, 96), '{"quantization_config": {"quant_method": "fp8", "weight_block_size": [64, 96]}}'):
            blocks = tuple(-(-n // s) for n, s in zip(codes.shape, size))
            scale = rng.uniform(1e-4, 3, blocks).astype("<f4")
            each = np.repeat(np.repeat(scale, size[0], 0), size[1], 1)[: codes.shape[0], : codes.shape[1]]
            got = convert({"m.weight": ("F8_E4M3", codes), "m.weight_scale_inv": ("F32", scale)}, dtype, config)
            check("FP8 in blocks of %s to %s" % (size, dtype), got["m.weight"], dtype, rounded(f8[codes] * each, dtype))
        # vLLM and compressed-tensors: a scale for the tensor, or for each row.
        for shape in ((), (200, 1)):
            scale = np.asarray(rng.uniform(1e-4, 3, shape)).astype("<f4")
            got = convert({"m.weight": ("F8_E4M3", codes), "m.weight_scale": ("F32", scale)}, dtype)
            check("FP8 with scales %s to %s" % (shape, dtype), got["m.weight"], dtype, rounded(f8[codes] * scale, dtype))
            got = convert({"m.weight": ("I8", codes), "m.weight_scale": ("F32", scale)}, dtype)
            check("INT8 with scales %s to %s" % (shape, dtype), got["m.weight"], dtype, rounded(codes.view("i1") * scale.astype("f8"), dtype))
        # gpt-oss as transformers has it: integrations/mxfp4.py convert_moe_packed_tensors.
        fp4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
        packed, exponents = rng.integers(0, 256, (3, 8, 5, 16)).astype("u1"), rng.integers(100, 140, (3, 8, 5)).astype("u1")
        pairs = np.stack([fp4[packed & 15], fp4[packed >> 4]], -1).reshape(3, 8, 5, 32)
        want = np.ldexp(pairs, exponents.astype("i4")[..., None] - 127).reshape(3, 8, 160).swapaxes(1, 2)
        got = convert({"m.experts.down_proj_blocks": ("U8", packed), "m.experts.down_proj_scales": ("U8", exponents)}, dtype)
        check("MXFP4 to " + dtype, got["m.experts.down_proj"], dtype, rounded(want, dtype))
        # ModelOpt's NVFP4: a scale of E4M3 for 16 values, and one for the tensor.
        packed, scale = rng.integers(0, 256, (32, 32)).astype("u1"), rng.integers(1, 120, (32, 4)).astype("u1")
        whole = np.array(rng.uniform(1e-3, 1)).astype("<f4")
        pairs = np.stack([fp4[packed & 15], fp4[packed >> 4]], -1).reshape(32, 64)
        got = convert({"m.weight": ("U8", packed), "m.weight_scale": ("F8_E4M3", scale), "m.weight_scale_2": ("F32", whole)}, dtype)
        check("NVFP4 to " + dtype, got["m.weight"], dtype, rounded(pairs * np.repeat(f8[scale], 16, 1) * whole.astype("f8"), dtype))
        # compressed-tensors: unpack_from_int32, the lowest bits first, 8 too large; (q - zero) * scale.
        words, scale = rng.integers(0, 1 << 32, (16, 8), "u4"), rng.uniform(1e-3, 1, (16, 2)).astype("<f4")
        q = (words[..., None] >> np.arange(0, 32, 4, "u4") & 15).reshape(16, 64).astype("f8") - 8
        got = convert({"m.weight_packed": ("I32", words), "m.weight_scale": ("F32", scale), "m.weight_shape": ("I64", np.array([16, 64], "<i8"))}, dtype)
        check("INT4 to " + dtype, got["m.weight"], dtype, rounded(q * np.repeat(scale, 32, 1), dtype))
    print("%d comparisons of numbers, %d differ" % (done, bad))
    return bad


if __name__ == "__main__":
    sys.exit(1 if main(*sys.argv[1:]) else 0)
