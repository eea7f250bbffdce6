// Prints what the Hub's own parsers read of a hub, over HTTP: a line of name, type and
// shape for each tensor of a repository or of a GGUF file in it, or with "files" a line
// of path, size and SHA-256 for each file.
import { GGMLQuantizationType, gguf } from "@huggingface/gguf";
import { listFiles, parseSafetensorsMetadata } from "@huggingface/hub";

const [what, hubUrl, repo, file] = process.argv.slice(2);

function print(name, type, shape) {
  console.log([name, type, `[${shape.join(",")}]`].join("\t"));
}

switch (what) {
  case "files":
    for await (const f of listFiles({ repo, hubUrl, recursive: true })) {
      if (f.type === "file") console.log([f.path, f.size, f.lfs?.oid ?? ""].join("\t"));
    }
    break;
  case "gguf": {
    const { tensorInfos } = await gguf(`${hubUrl}/${repo}/resolve/main/${file}`);
    for (const t of tensorInfos) print(t.name, GGMLQuantizationType[t.dtype], t.shape);
    break;
  }
  default: {
    const parsed = await parseSafetensorsMetadata({ repo, hubUrl });
    for (const header of Object.values(parsed.sharded ? parsed.headers : { "": parsed.header })) {
      for (const [name, t] of Object.entries(header)) {
        if (name !== "__metadata__") print(name, t.dtype, t.shape);
      }
    }
  }
}
