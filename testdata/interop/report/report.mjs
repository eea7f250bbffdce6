// Opens pages of wtinspect in Chromium, as a reader does:
//
//   node report.mjs WTINSPECT CHROMIUM DIR
//
// A page asks for nothing and logs nothing, is valid HTML, has no fault that axe calls
// serious, is no wider than a phone, and sorts and filters its tables; what a file says in
// names and metadata does not run. What the pages look like is written to DIR, in both
// colour schemes and at two widths.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import axe from "axe-core";
import { HtmlValidate } from "html-validate";
import puppeteer from "puppeteer-core";

const [wtinspect, chromium, dir] = process.argv.slice(2);
let failed = 0;
const expect = (ok, what) => {
  if (!ok) {
    console.log(`FAIL: ${what}`);
    failed++;
  }
};

// model writes a safetensors file of F32 matrices of numbers that depend on a seed.
function model(name, tensors, metadata, seed = 1) {
  const header = { __metadata__: metadata };
  const data = [];
  let at = 0;
  let state = seed;
  for (const [tensor, rows, columns] of tensors) {
    const values = new Float32Array(rows * columns).map(() => {
      state = (state * 1103515245 + 12345) % 2147483648; // a linear congruential generator
      return (state / 2147483648 - 0.5) / 8;
    });
    header[tensor] = { dtype: "F32", shape: [rows, columns], data_offsets: [at, at + values.byteLength] };
    data.push(new Uint8Array(values.buffer));
    at += values.byteLength;
  }
  let text = Buffer.from(JSON.stringify(header));
  text = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, " ")]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(join(dir, name), Buffer.concat([length, text, ...data]));
}

const llama = [["model.embed_tokens.weight", 256, 64]];
for (let i = 0; i < 16; i++) {
  for (const [part, rows, columns] of [
    ["self_attn.q_proj", 64, 64], ["self_attn.k_proj", 16, 64], ["self_attn.v_proj", 16, 64], ["self_attn.o_proj", 64, 64],
    ["mlp.gate_proj", 172, 64], ["mlp.up_proj", 172, 64], ["mlp.down_proj", 64, 172],
  ]) {
    llama.push([`model.layers.${i}.${part}.weight`, rows, columns]);
  }
}
llama.push(["lm_head.weight", 256, 64]);
const odd = [];
for (const letter of "abcdefghijklmnopqrstuvwxyz") odd.push([`${letter.repeat(3)}.${letter}.weight`, 1 + odd.length, 8]);
const bad = `</title></script><script>document.title='ran'</script><img src=x onerror="document.title='ran'">" onload='x' {{.}} \u202e\u0000\u001b[2J`;
model("plain.safetensors", llama.concat(odd), { format: "pt" });
model("tuned.safetensors", llama.concat(odd.slice(1)), { format: "pt" }, 2);
model("hostile.safetensors", [[`model.layers.0.${bad}`, 2, 2], [`model.layers.1.${bad}`, 2, 2], [bad + "😀<".repeat(13000), 2, 2]].concat(odd), { ["k" + bad]: bad, format: bad });
const pages = [];
const make = (name, ...args) => {
  const path = join(dir, name + ".html");
  execFileSync(wtinspect, ["report", "--values", "-o", path, ...args], { cwd: dir });
  pages.push([name, path]);
};
make("plain", "plain.safetensors");
make("two", "plain.safetensors", "tuned.safetensors");
make("hostile", "hostile.safetensors", "plain.safetensors");

const validator = new HtmlValidate({ extends: ["html-validate:standard"] });
const browser = await puppeteer.launch({ executablePath: chromium, headless: true, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
for (const [name, path] of pages) {
  const url = pathToFileURL(path).href;
  const valid = await validator.validateFile(path);
  for (const { messages } of valid.results) {
    for (const m of messages) expect(false, `${name}:${m.line}:${m.column}: ${m.ruleId}: ${m.message}`);
  }
  for (const scheme of ["light", "dark"]) {
    for (const width of [1280, 360]) {
      const at = `${name}, ${scheme}, ${width} px`;
      const page = await browser.newPage();
      await page.setViewport({ width, height: width < 500 ? 740 : 900 });
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      page.on("request", (r) => expect(r.url() === url || r.url() === "data:,", `${at}: asks for ${r.url()}`));
      page.on("console", (m) => expect(false, `${at}: ${m.type()}: ${m.text()}`));
      page.on("pageerror", (e) => expect(false, `${at}: ${e}`));
      await page.goto(url);
      await page.screenshot({ path: join(dir, `${name}-${scheme}-${width}.png`), fullPage: true });
      expect((await page.title()) !== "ran", `${at}: something in a file has run`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      expect(wide <= width, `${at}: the page is ${wide} px wide`);
      await page.evaluate(() => document.querySelectorAll("details").forEach((d) => (d.open = true)));
      await tables(page, at);

      await page.evaluate(axe.source);
      const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
      for (const v of found.violations) {
        const where = v.nodes.slice(0, 3).map((n) => n.target.join(" ") + (n.any[0] ? `: ${n.any[0].message}` : "")).join("; ");
        if (v.impact === "serious" || v.impact === "critical") expect(false, `${at}: axe: ${v.id}: ${where}`);
        else if (width === 1280 && scheme === "light") console.log(`note: ${at}: axe: ${v.impact}: ${v.id}: ${where}`);
      }
      await page.close();
    }
  }

  // What was not in the page when it was written does not run.
  const other = join(dir, "other.html");
  writeFileSync(other, readFileSync(path, "utf8").replace("</main>", `<script>document.title='ran'</script><img src="x" onerror="document.title='ran'"></main>`));
  const page = await browser.newPage();
  await page.goto(pathToFileURL(other).href);
  expect((await page.title()) !== "ran", `${name}: the policy lets a script in`);

  // Without scripts everything is there but the buttons.
  await page.setJavaScriptEnabled(false);
  await page.goto(url);
  const html = await page.content();
  expect(html.includes('id="made"') && !html.includes("<button"), `${name}: without scripts`);
  await page.close();
}
await browser.close();
if (!failed) console.log(`${pages.length} pages in Chromium`);
process.exit(failed ? 1 : 0);

// tables tries the buttons and the filter of the last table of tensors.
async function tables(page, at) {
  const table = await page.evaluate(() => {
    const all = [...document.querySelectorAll("table[data-sort]")].filter((t) => /dtypeshape.*size/.test(t.tHead.textContent));
    const t = all.find((t) => t.tBodies[0].rows.length > 16);
    t?.setAttribute("id", "tried");
    return t && { rows: t.tBodies[0].rows.length, column: [...t.tHead.rows[0].cells].findIndex((c) => c.textContent === "size") };
  });
  expect(table, `${at}: no table of tensors`);
  if (!table) return;
  const sizes = () => page.$$eval("#tried tbody tr", (rows, i) => rows.map((r) => Number(r.cells[i].dataset.n)), table.column);
  const sorted = (list, way) => list.every((v, i) => i === 0 || way * (v - list[i - 1]) >= 0);
  const button = `#tried thead th:nth-child(${table.column + 1}) button`;
  await page.click(button);
  expect(sorted(await sizes(), 1), `${at}: a click does not sort`);
  await page.click(button);
  expect(sorted(await sizes(), -1), `${at}: a second click does not sort the other way`);
  const input = await page.evaluateHandle(() => document.getElementById("tried").parentElement.previousElementSibling.querySelector("input"));
  await input.type("ddd f32");
  const left = await page.$$eval("#tried tbody tr:not([hidden])", (rows) => rows.map((r) => r.cells[0].textContent));
  expect(left.length === 1 && left[0] === "ddd.d.weight", `${at}: the filter leaves ${left}`);
  const clear = () => page.evaluate((i) => { i.value = ""; i.dispatchEvent(new Event("input")); }, input);
  await clear();
  if (at.startsWith("plain")) {
    await input.type("layers.12.mlp.up");
    const folded = await page.$$eval("#tried tbody tr:not([hidden])", (rows) => rows.map((r) => r.cells[0].textContent));
    expect(folded.length === 1 && folded[0] === "model.layers.{0..15}.mlp.up_proj.weight", `${at}: the filter finds of a folded row ${folded}`);
    await clear();
  }
  expect((await page.$$("#tried tbody tr:not([hidden])")).length === table.rows, `${at}: an empty filter leaves rows out`);
}
