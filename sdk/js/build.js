// Makes dist: as a module and as CommonJS, for a <script> (minified, the global `ringpost`), and the types of both.
//
//     node build.js

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

rmSync(here("dist"), { recursive: true, force: true });
mkdirSync(here("dist"));

const common = {
  entryPoints: [here("src/index.ts")],
  bundle: true,
  // Browsers since 2021, and Node.
  target: "es2022",
  banner: { js: "/*! ringpost, MIT OR Apache-2.0 */" },
  logLevel: "warning",
};
// Names that begin so are nobody else's.
const minified = { minify: true, mangleProps: /^_/ };
buildSync({ ...common, format: "esm", outfile: here("dist/ringpost.js"), sourcemap: true });
buildSync({ ...common, format: "cjs", outfile: here("dist/ringpost.cjs"), sourcemap: true });
buildSync({ ...common, ...minified, format: "esm", outfile: here("dist/ringpost.min.mjs") });
buildSync({ ...common, ...minified, entryPoints: [here("src/global.ts")], format: "iife", outfile: here("dist/ringpost.min.js") });

types();
for (const name of ["LICENSE-MIT", "LICENSE-APACHE"]) cpSync(here(`../../${name}`), here(name));

/** One file of types, of those that a page has to do with: their names are unlike, so that they may stand in one. */
function types() {
  const out = here("dist/types");
  execFileSync(process.execPath, [here("node_modules/typescript/bin/tsc"), "-p", here("tsconfig.json")], { stdio: "inherit" });
  const index = readFileSync(`${out}/index.d.ts`, "utf8");
  const names = [...index.matchAll(/^export (type )?\{ ([^}]*) \} from/gm)];
  const exported = names.flatMap(([, type, list]) => list.split(", ").map((name) => (type ? `type ${name}` : name)));
  const parts = ["message", "options", "emitter", "group", "push", "index"]
    .map((file) => readFileSync(`${out}/${file}.d.ts`, "utf8"))
    // Nobody outside has to do with it.
    .map((text) => text.replace(/^ +(\/\*\* [^\n]* \*\/\n +)?(private|readonly _)[^\n]*;\n/gm, ""))
    .map((text) => text.replace(/^(import|export) (type )?\{[^}]*\}( from "[^"]*")?;\n/gm, ""))
    .map((text) => text.replace(/^export (?=declare|interface|type|class)/gm, ""));
  const text = `${parts.join("\n")}\nexport { connect, ${exported.join(", ")} };\n`;
  writeFileSync(here("dist/ringpost.d.ts"), text);
  writeFileSync(here("dist/ringpost.d.cts"), text);
  rmSync(out, { recursive: true });
}
