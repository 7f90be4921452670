/**
 * The types of the package `sky-onprem` in one file: what the compiler says of client/sdk/public, without a word of the
 * modules behind it, so that programs need none of this product's libraries to be checked. Also the table of what is
 * exported, with its descriptions, for the reference. It must fail rather than leave a name without its meaning. Used by
 * scripts/build.ts and scripts/sdk-reference.ts.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const folder = "client/sdk/public";
const entry = "sky.ts";

/** One statement that declares a name, with the description above it. */
export interface Declaration {
  name: string;
  /** Of the source, below the root. */
  file: string;
  kind: "class" | "interface" | "type" | "const" | "function";
  /** The comment's text without its marks; empty: none. */
  description: string;
  /** Without comment, `export` and `declare`. */
  text: string;
  comment: string;
}

export interface SdkTypes {
  /** Every exported name, in the order of the entry; a name may stand for a value and a type. */
  exported: Declaration[];
  /** Needed by them, but not to be imported. */
  inner: Declaration[];
  /** Names gathered under one more name: `exceptions`. */
  groups: { name: string; members: string[] }[];
}

/** Declarations as the compiler writes them, by file name. */
function emitted(root: string): Map<string, string> {
  const out = mkdtempSync(join(tmpdir(), "sky-sdk-types-"));
  try {
    const compiler = join(dirname(createRequire(join(root, "x")).resolve("typescript/package.json")), "bin/tsc");
    const compilerOptions = {
      ...{ declaration: true, emitDeclarationOnly: true, noEmit: false, noCheck: true },
      ...{ rootDir: root, outDir: out, typeRoots: [join(root, "node_modules/@types")] },
    };
    const project = {
      ...{ extends: join(root, "tsconfig.json"), files: [join(root, folder, entry)], include: [] },
      compilerOptions,
    };
    writeFileSync(join(out, "tsconfig.json"), JSON.stringify(project));
    const argv = [compiler, "-p", join(out, "tsconfig.json")];
    execFileSync(process.execPath, argv, { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
    const seen = new Map<string, string>();
    const visit = (file: string): void => {
      if (seen.has(file)) {
        return;
      }
      const text = readFileSync(join(out, folder, file.replace(/\.ts$/, ".d.ts")), "utf8");
      seen.set(file, text);
      for (const match of text.matchAll(/from "\.\/([^"/]+\.ts)"/g)) {
        visit(match[1] ?? "");
      }
    };
    visit(entry);
    return seen;
  } finally {
    rmSync(out, { recursive: true, force: true });
  }
}

/** Whether all brackets of a statement are closed; those in comments and strings do not count. */
function isComplete(text: string): boolean {
  const code = text.replace(/\/\*[\s\S]*?\*\/|"[^"\n]*"/g, "");
  const count = (brackets: RegExp): number => code.match(brackets)?.length ?? 0;
  return !code.includes("/*") && /[;}]\s*$/.test(code) && count(/[{([]/g) === count(/[})\]]/g);
}

/** Statements of one file: each begins in a line without indentation. */
function statementsOf(text: string): { comment: string; text: string }[] {
  const found: { comment: string; text: string }[] = [];
  let comment: string[] = [];
  let statement: string[] = [];
  let inComment = false;
  for (const line of text.split("\n")) {
    if (statement.length === 0 && (inComment || line.startsWith("/**"))) {
      comment = inComment ? [...comment, line] : [line];
      inComment = !line.endsWith("*/");
      continue;
    }
    if (statement.length === 0 && line.trim() === "") {
      continue;
    }
    statement.push(line);
    if (isComplete(statement.join("\n"))) {
      found.push({ comment: comment.join("\n"), text: statement.join("\n") });
      comment = [];
      statement = [];
    }
  }
  return found;
}

function descriptionOf(comment: string): string {
  return comment
    .replace(/^\/\*\*[ ]?/, "")
    .replace(/\s*\*\/$/, "")
    .split("\n")
    .map((line) => line.replace(/^\s*\*(?: |$)/, ""))
    .join("\n")
    .trim();
}

const declaring = /^(?:export )?(?:declare )?(class|interface|type|const|function) ([A-Za-z_$][\w$]*)/;

function declarationsOf(file: string, text: string): Declaration[] {
  return statementsOf(text).flatMap((statement) => {
    const match = declaring.exec(statement.text);
    return match === null
      ? []
      : [
          {
            kind: match[1] as Declaration["kind"],
            name: match[2] ?? "",
            file: `${folder}/${file}`,
            comment: statement.comment,
            description: descriptionOf(statement.comment),
            text: statement.text.replace(/^export /, "").replace(/^declare /, ""),
          },
        ];
  });
}

/**
 * What the compiler says of the package, looked through from its entry; `format` is given each file's text first. Throws
 * when a name means two things, or nothing.
 */
export function readSdkTypes(root: string, format: (text: string) => string = (text) => text): SdkTypes {
  const files = new Map([...emitted(root)].map(([file, text]) => [file, format(text)]));
  const entryText = files.get(entry) ?? "";
  const byName = new Map<string, Declaration[]>();
  for (const [file, text] of files) {
    for (const declaration of file === entry ? [] : declarationsOf(file, text)) {
      const same = byName.get(declaration.name) ?? [];
      if (same.some((one) => one.file !== declaration.file)) {
        throw new Error(`${declaration.name} is declared in two files of ${folder}`);
      }
      byName.set(declaration.name, [...same, declaration]);
    }
  }
  const names = [...entryText.matchAll(/^export (?:type )?\{([^}]*)\}/gm)]
    .flatMap((match) => (match[1] ?? "").split(","))
    .map((name) => name.trim())
    .filter((name) => name !== "");
  const missing = names.filter((name) => !byName.has(name));
  if (names.length === 0 || missing.length > 0) {
    throw new Error(`no declaration of what ${folder}/${entry} exports: ${missing.join(", ")}`);
  }
  const reached = new Set(names);
  for (const name of reached) {
    const text = (byName.get(name) ?? []).map((one) => one.text.replace(/\/\*[\s\S]*?\*\//g, "")).join("\n");
    for (const word of text.match(/[A-Za-z_$][\w$]*/g) ?? []) {
      if (byName.has(word)) {
        reached.add(word);
      }
    }
  }
  const exportedNames = new Set(names);
  const groups = [...entryText.matchAll(/^export \* as (\w+) from "\.\/([^"]+)"/gm)].map((match) => ({
    name: match[1] ?? "",
    members: names.filter((name) =>
      byName.get(name)?.some((one) => one.file === `${folder}/${match[2]}` && one.kind === "class"),
    ),
  }));
  return {
    exported: [...exportedNames].flatMap((name) => byName.get(name) ?? []),
    inner: [...reached].filter((name) => !exportedNames.has(name)).flatMap((name) => byName.get(name) ?? []),
    groups,
  };
}

function statementText(declaration: Declaration, prefix: string): string {
  const isType = declaration.kind === "interface" || declaration.kind === "type";
  const comment = declaration.comment === "" ? "" : `${declaration.comment}\n`;
  return `${comment}${prefix}${isType ? "" : "declare "}${declaration.text}`;
}

/** The text of the package's types. */
export function sdkTypesText(types: SdkTypes): string {
  const parts = [
    "// Types of sky-onprem, made from its sources. See the reference in docs/sdk.md.",
    ...types.inner.map((one) => statementText(one, "")),
    ...types.exported.map((one) => statementText(one, "export ")),
    ...types.groups.map(
      ({ name, members }) => `export declare namespace ${name} {\n  export { ${members.join(", ")} };\n}`,
    ),
    "export {};",
  ];
  return `${parts.join("\n\n")}\n`;
}
