// scan.mjs PROGRAM RELEASES PAGE DIR: DuckDB reads the tables that the program writes to
// DIR of every release below RELEASES. They have what `ls` and `check` say of the same
// releases, and the queries of PAGE run on them.
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { DuckDBInstance } from "@duckdb/node-api";

const [program, releases, page, dir] = process.argv.slice(2);
let failures = 0;
const check = (what, got, want) => {
  const [g, w] = [got, want].map((x) => JSON.stringify(x));
  if (g === w) return;
  failures++;
  console.log(`FAIL: ${what}: ${g.slice(0, 600)}, want ${w.slice(0, 600)}`);
};

execFileSync(program, ["scan", "-q", "--allow-errors", "--values", "-R", releases, "-f", "parquet", "-o", dir]);
const db = await (await DuckDBInstance.create(":memory:")).connect();
const query = async (sql) => (await db.runAndReadAll(sql)).getRowObjectsJson();
for (const table of ["releases", "files", "tensors", "findings", "stats"]) {
  await query(`CREATE VIEW ${table} AS FROM '${dir}/${table}/*.parquet'`);
}

// Whatever the exit status is, the answer is printed.
const answer = (...args) => JSON.parse(spawnSync(program, [...args, "-f", "json"], { maxBuffer: 1 << 30 }).stdout);
const text = (x) => (x === null ? null : String(x));
const sorted = (rows) => rows.map((r) => JSON.stringify(r)).sort();

const list = await query("SELECT * FROM releases ORDER BY repository");
check("there are releases", list.length > 3, true);
let tensors = 0;
for (const { repository, tensors: counted, errors, warnings, infos } of list) {
  const of = (table, columns) => query(`SELECT ${columns} FROM ${table} WHERE repository = '${repository}'`);
  const ls = answer("ls", repository);
  check(
    `tensors of ${repository}`,
    sorted((await of("tensors", "name, dtype, shape, elements, bytes, \"offset\", file")).map((t) => [t.name, t.dtype, t.shape?.map(String) ?? null, t.elements, t.bytes, t.offset, t.file])),
    sorted(ls.tensors.map((t) => [t.name, t.dtype, t.shape?.map(String) ?? null, text(t.elements), text(t.bytes), text(t.offset), t.file])),
  );
  check(`number of tensors of ${repository}`, counted, text(ls.tensors.length));
  tensors += ls.tensors.length;
  check(
    `files of ${repository}`,
    sorted((await of("files", "file, bytes")).map((f) => [f.file, f.bytes])),
    sorted(ls.checkpoints.flatMap((c) => c.files.map((f) => [f.path, text(f.bytes ?? null)]))),
  );
  const found = answer("check", "--values", repository).findings;
  check(
    `findings of ${repository}`,
    sorted((await of("findings", "rule, severity, tensor, count, message")).map((f) => [f.rule, f.severity, f.tensor, f.count, f.message])),
    sorted(found.map((f) => [f.rule, f.severity, f.tensor, text(f.count), f.message])),
  );
  check(`severities of ${repository}`, [errors, warnings, infos], ["error", "warning", "info"].map((s) => text(found.filter((f) => f.severity === s).length)));
  const digests = answer("hash", repository).tensors;
  check(
    `digests of ${repository}`,
    sorted((await of("tensors", "name, digest")).filter((t) => t.digest !== null).map((t) => [t.name, t.digest])),
    sorted(digests.map((t) => [t.name, t.sha256 ?? t.digest])),
  );
}
check("rows of tensors", await query("SELECT count(*)::INT AS n FROM tensors"), [{ n: tensors }]);

// What a reader passes over is in the metadata.
check(
  "row groups that do not say what they have",
  await query(`SELECT count(*)::INT AS n FROM parquet_metadata('${dir}/*/*.parquet') WHERE path_in_schema = 'repository' AND (stats_min_value IS NULL OR stats_max_value IS NULL)`),
  [{ n: 0 }],
);
check(
  "columns of tensors",
  Object.fromEntries((await query("DESCRIBE tensors")).map((c) => [c.column_name, c.column_type]).filter(([n]) => ["shape", "bytes", "schema_version", "name"].includes(n))),
  { schema_version: "INTEGER", name: "VARCHAR", shape: "BIGINT[]", bytes: "BIGINT" },
);

const queries = [...readFileSync(page, "utf8").matchAll(/```sql\n([\s\S]*?)```/g)].map((m) => m[1].replaceAll("tables/", `${dir}/`));
check("queries on the page", queries.length >= 6, true);
for (const sql of queries) {
  if (sql.startsWith("CREATE")) continue; // the same views
  const rows = await query(sql);
  console.log(`${rows.length} rows: ${sql.trim().split("\n")[0]}`);
  check(`rows of ${sql.trim()}`, rows.length > 0, true);
}
console.log(`DuckDB: ${list.length} releases, ${tensors} tensors, ${failures} differences`);
process.exit(failures ? 1 : 0);
