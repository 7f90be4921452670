/**
 * Writes docs/sdk.md, the reference of the package `sky-onprem`, from the declarations and descriptions of its sources:
 * every function, class and shape with its form, what it takes, gives and raises, and where it stands. Nothing in it is
 * written by hand. Run by people after a change (`npm run reference`); with `--check` it only says whether it is up to
 * date.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Declaration, readSdkTypes } from "./release/sdk-types.ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const page = join(root, "docs/sdk.md");
const lineMax = 118;

/** What stands together, by the file that it is declared in. */
const chapters: [title: string, files: string[], said: string][] = [
  ["Clusters", ["clusters.ts"], "Functions that return a request id: `get` waits for what it comes to."],
  ["Jobs on a cluster", ["jobs.ts"], "Job ids count for each user and cluster: 1, 2, 3 …"],
  ["Requests", ["api.ts"], "Every call that a cluster takes is a request with an id."],
  ["Tasks", ["task.ts", "dag.ts", "resources.ts", "storage.ts"], "What is to be run, and what it needs."],
  [
    "Admin policies",
    ["policy.ts", "policy-config.ts"],
    "For those who write them: see [admin policies](admin/admin-policies.md).",
  ],
  ["Statuses", ["statuses.ts"], "Words that can also be written as plain strings."],
  ["What functions give", ["types.ts"], "Plain objects. Times are seconds since 1970."],
  ["Errors", ["exceptions.ts"], "Each is a class; all of them are also in `sky.exceptions`."],
];

const head = `# Reference of the SDK

\`import * as sky from "sky-onprem"\`: what the command \`sky\` does, for programs. The [guide](sdk-guide.md) shows how it
is used. This page is made from the sources by \`npm run reference\`; a test says whether it is up to date.
`;

/** As the house formats its sources, so that lines fit. */
function formatted(text: string): string {
  const biome = join(root, "node_modules/@biomejs/biome/bin/biome");
  const argv = [biome, "format", "--stdin-file-path=x.ts"];
  return execFileSync(process.execPath, argv, { cwd: root, input: text, encoding: "utf8" });
}

/** Lines of a paragraph that fit; a list's lines are indented. */
function wrapped(text: string, indent = ""): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/).filter((one) => one !== "")) {
    if (line !== "" && `${line} ${word}`.length > lineMax) {
      lines.push(line);
      line = indent + word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].join("\n");
}

interface Description {
  paragraphs: string[];
  params: string[];
  returns: string[];
  raises: string[];
  example: string | null;
}

/** Takes a description apart at its marks; one lasts until the next, or a blank line. */
function readDescription(text: string): Description {
  const found: Description = { paragraphs: [], params: [], returns: [], raises: [], example: null };
  const at = text.indexOf("@example");
  found.example = at < 0 ? null : text.slice(at + "@example".length).trim();
  for (const block of (at < 0 ? text : text.slice(0, at)).split(/\n\s*\n|\n(?=@)|(?<=\.) (?=@throws)/)) {
    const match = /^@(param|returns|throws) ?([\s\S]*)$/.exec(block.trim());
    const rest = match?.[2] ?? "";
    if (match?.[1] === "param") {
      found.params.push(rest.replace(/^(\S+)/, "`$1`"));
    } else if (match?.[1] === "returns") {
      found.returns.push(rest);
    } else if (match?.[1] === "throws") {
      found.raises.push(rest);
    } else if (block.trim().startsWith("Request Raises: ")) {
      found.raises.push(`Of the request: ${block.trim().slice("Request Raises: ".length)}`);
    } else if (block.trim() !== "") {
      found.paragraphs.push(block.trim());
    }
  }
  return found;
}

function list(title: string, items: string[]): string[] {
  return items.length === 0 ? [] : [`${title}:\n\n${items.map((item) => wrapped(`- ${item}`, "  ")).join("\n")}`];
}

/** The declaration without the descriptions of its name, which stand below; those of fields stay where they are. */
function entryOf(declarations: Declaration[]): string {
  const first = declarations[0] as Declaration;
  const described = readDescription(declarations.map((one) => one.description).join("\n\n"));
  const form = declarations
    .map((one) => one.text.replace("    #private;\n", "").replace("  #private;\n", ""))
    .join("\n");
  const parts = [
    `### ${first.name}`,
    ...described.paragraphs.map((paragraph) => wrapped(paragraph)),
    `\`\`\`ts\n${form}\n\`\`\``,
    ...list("Takes", described.params),
    ...list("Gives", described.returns),
    ...list("Raises", described.raises),
    ...(described.example === null ? [] : [`\`\`\`ts\n${described.example}\n\`\`\``]),
    `Source: [${first.file}](../${first.file})`,
  ];
  return parts.join("\n\n");
}

/** The whole page. */
function referenceText(): string {
  const types = readSdkTypes(root, formatted);
  const known = new Set(chapters.flatMap(([, files]) => files));
  const stray = types.exported.filter((one) => !known.has(one.file.split("/").at(-1) ?? ""));
  if (stray.length > 0) {
    throw new Error(`no chapter for ${stray.map((one) => one.name).join(", ")}`);
  }
  const parts = chapters.flatMap(([title, files, said]) => {
    const declarations = files.flatMap((file) => types.exported.filter((one) => one.file.endsWith(`/${file}`)));
    const names = [...new Set(declarations.map((one) => one.name))];
    return [
      `## ${title}`,
      said,
      ...names.map((name) => entryOf(declarations.filter((declaration) => declaration.name === name))),
    ];
  });
  return `${[head.trimEnd(), ...parts].join("\n\n")}\n`;
}

function main(): void {
  const text = referenceText();
  if (!process.argv.includes("--check")) {
    writeFileSync(page, text);
  } else if (readFileSync(page, "utf8") !== text) {
    process.stderr.write("docs/sdk.md is not what the sources say: run `npm run reference`.\n");
    process.exitCode = 1;
  }
}

main();
