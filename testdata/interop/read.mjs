// Prints a line of name, type, shape and SHA-256 for each tensor of a .gguf file
// or of a directory with safetensors, as the Hub's own parsers read them.
import { createHash } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { gguf } from "@huggingface/gguf";
import { parseSafetensorsMetadata } from "@huggingface/hub";

const path = process.argv[2];

function print(name, type, shape, data) {
  const sum = createHash("sha256").update(data).digest("hex");
  console.log([name, type, shape.join(","), sum].join("\t"));
}

async function printGGUF() {
  const { tensorInfos, tensorDataOffset } = await gguf(path, { allowLocalFile: true });
  const file = readFileSync(path);
  const start = Number(tensorDataOffset);
  // What lies between two tensors is padding, and belongs to the first.
  const order = tensorInfos.toSorted((a, b) => Number(a.offset - b.offset));
  order.forEach((t, i) => {
    const end = i + 1 < order.length ? start + Number(order[i + 1].offset) : file.length;
    const data = file.subarray(start + Number(t.offset), end);
    if (data.length === 0) throw new Error(`${t.name} has no data`);
    // The last tensor's padding is optional.
    const trimmed = i + 1 < order.length ? data : data.subarray(0, data.length - (data.length % 32));
    print(t.name, t.dtype, t.shape, trimmed);
  });
}

// serve stands for the Hub: it answers from a directory.
function serve(dir) {
  return async (url, init = {}) => {
    const name = new URL(url).pathname.replace(/^.*\/(raw|resolve)\/main\//, "");
    const file = join(dir, name);
    if (!existsSync(file)) {
      return new Response(null, { status: 404, headers: { "X-Error-Code": "EntryNotFound" } });
    }
    const size = statSync(file).size;
    if (init.method === "HEAD") return new Response(null, { status: 200 });
    const range = /bytes=(\d+)-(\d+)/.exec(new Headers(init.headers).get("range") ?? "");
    if (!range) return new Response(readFileSync(file), { status: 200 });
    const [first, last] = [Number(range[1]), Math.min(Number(range[2]), size - 1)];
    return new Response(readFileSync(file).subarray(first, last + 1), {
      status: 206,
      headers: { "Content-Range": `bytes ${first}-${last}/${size}`, ETag: `"${name}"` },
    });
  };
}

async function printSafetensors() {
  const parsed = await parseSafetensorsMetadata({ repo: "local/model", fetch: serve(path) });
  const headers = parsed.sharded ? parsed.headers : { "model.safetensors": parsed.header };
  for (const [name, header] of Object.entries(headers)) {
    const file = readFileSync(join(path, name));
    const start = 8 + Number(file.readBigUInt64LE(0));
    for (const [tensor, t] of Object.entries(header)) {
      if (tensor === "__metadata__") continue;
      if (parsed.sharded && parsed.index.weight_map[tensor] !== name) {
        throw new Error(`the index has ${tensor} in ${parsed.index.weight_map[tensor]}, and it is in ${name}`);
      }
      const [begin, end] = t.data_offsets;
      print(tensor, t.dtype, t.shape, file.subarray(start + begin, start + end));
    }
  }
}

await (path.endsWith(".gguf") ? printGGUF() : printSafetensors());
