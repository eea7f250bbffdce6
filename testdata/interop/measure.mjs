// What @huggingface/gguf does, as make compare times it.
//
//	measure.mjs list PATH      the tensors: name, dtype and shape, one per line
//	measure.mjs time PATH N    reads the header N times and prints the nanoseconds of each
import { gguf, GGMLQuantizationType } from "@huggingface/gguf";

const [command, path, count] = process.argv.slice(2);
const read = () => gguf(path, { allowLocalFile: true });

if (command === "list") {
  const { tensorInfos } = await read();
  const lines = tensorInfos.map((t) => `${t.name}\t${GGMLQuantizationType[t.dtype]}\t[${t.shape.toReversed().join(",")}]\n`);
  process.stdout.write(lines.join(""));
} else {
  for (let i = 0; i < Number(count); i++) {
    const start = process.hrtime.bigint();
    await read();
    console.log(String(process.hrtime.bigint() - start));
  }
}
